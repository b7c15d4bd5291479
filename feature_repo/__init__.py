"""The only home of Feast: sources, definitions, point-in-time joins, the online store.

Teams' definitions lie in `definitions/` of their project and are loaded by path. `online_store` holds the packed
online store, which its reader opens without Feast.
"""
