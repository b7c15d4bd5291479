"""How the ledger's tables came to be: one file per revision in `versions`, applied in order by `perennial.ledger.upgrade`.

A released revision is never changed: a new file follows it, and `perennial.ledger.tables` (with its HEAD) says the result.
"""
