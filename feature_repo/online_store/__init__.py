"""The packed online store: its layouts and bytes, in an SQLite file or a Redis, with its writers and its reader.

Feast meets it in `feast_store` only. What goes into it is decided by `feature_repo.store` and `feature_repo.kept`.
"""
