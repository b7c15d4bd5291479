"""How sources are read: their files and one schema, DuckDB on them, the types and rows that may be used.

What is made of the rows belongs to `feature_repo`: the join, the training set, what is materialised.
"""
