"""The end of a run: which run writes what it found, under which claim, and when."""

from dataclasses import dataclass
from datetime import datetime

from perennial.ledger import Fence


@dataclass(frozen=True)
class Ending:
    """A run that has come to its last step."""

    run_id: str
    """The run."""
    fence: Fence
    """Its claim and token: an earlier start of the same run, still alive somewhere, writes nothing."""
    finished: datetime
    """The real time."""
