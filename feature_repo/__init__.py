"""The only home of Feast: sources, definitions, point-in-time joins, the online store.

Teams' definitions lie in `definitions/` of their project and are loaded by path. `layout` and `database` hold the packed online
store without Feast, for a reader that must start fast.
"""
