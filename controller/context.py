"""What a tick works with."""

from dataclasses import dataclass
from datetime import datetime

from controller.runner import Runner
from perennial.ledger import Ledger
from perennial.moment import Moment
from perennial.settings import Settings


@dataclass(frozen=True)
class Context:
    """What a tick works with."""

    settings: Settings
    ledger: Ledger
    """Fenced by the controller's lease."""
    runner: Runner
    now: datetime
    """The time for which it acts, UTC: the tick's, or a request's own."""
    wall_clock: datetime
    """The real time, UTC."""

    @property
    def moment(self) -> Moment:
        """Both times."""
        return Moment(self.now, self.wall_clock)
