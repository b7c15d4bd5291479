"""The ledger itself: its parts in one. What each part keeps stands in the module of that name."""

from perennial.ledger.claims import Claims
from perennial.ledger.decisions import Decisions
from perennial.ledger.requests import RequestLedger
from perennial.ledger.runs import Runs
from perennial.ledger.submissions import Submissions
from perennial.ledger.versions import Versions
from perennial.ledger.windows import Windows


class Ledger(Runs, Versions, Windows, Decisions, Claims, RequestLedger, Submissions):
    """The durable record of runs, versions, gates, rollouts, windows, decisions, incidents, claims, submissions.

    Of requests and leases too.

    Each call is one transaction. `open` opens it, `with_fence` binds what is written to a claim or lease.
    """
