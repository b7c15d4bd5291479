"""A first model from one table: what its columns are, how it is split into sources, and the spec and definitions that fit it.

Nothing here trains or serves. Feast is not imported, so that the first command of a newcomer answers at once.
"""
