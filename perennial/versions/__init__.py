"""A version of a model: its folder with a digest over every byte, its contract with whoever serves it, what its training found.

Which version serves is no property of a version: that stands in the ledger.
"""
