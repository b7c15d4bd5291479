"""The ledger: the durable record of runs, versions, windows, decisions and claims. The only home of SQLAlchemy and Alembic.

It says what happened; nothing else is asked. Written for SQLite (embedded) and PostgreSQL (cluster) by the same statements.
Callers get frozen records, never rows of the library, and give the time: nothing here reads the clock.
"""

from perennial.ledger.ledger import Ledger
from perennial.ledger.records import Fence, Lease, Mode, Run, State, Submission, Version

__all__ = ["Fence", "Lease", "Ledger", "Mode", "Run", "State", "Submission", "Version"]
