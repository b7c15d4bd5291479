"""Clients of what keeps bytes and locks: an object store, PostgreSQL's driver, files that one process holds at a time.

What is kept there belongs to others: versions to `versions`, what happened to `ledger`, experiments to `registry`.
"""
