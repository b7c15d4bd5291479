"""What a tick works with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from controller.runner import Runner
from perennial.ledger import Ledger, Run, Version
from perennial.moment import Moment
from perennial.settings import Settings


@dataclass(frozen=True)
class Overview:
    """The ledger at the begin of a tick, by a few queries for all models: of most of them there is nothing to do.

    Nobody else begins anything while the lease is held, so that what is not busy now stays so until its turn in the tick.
    """

    busy: frozenset[str]
    """Models about which somebody asked something, of which a run is claimed, or on which a decision is open."""
    settled: Mapping[str, tuple[Version, Run]]
    """By model: its champion and the run that made it, where no request for traffic is on its way."""
    trained: Mapping[str, Mapping[str, datetime]]
    """By model and digest of a version: the end of the data that it was trained on."""

    @classmethod
    def read(cls, ledger: Ledger) -> "Overview":
        """As the ledger stands."""
        busy = {request.model for request in ledger.open_requests()}
        busy |= {claim.model for claim in ledger.open_claims()}
        busy |= {decision.model for decision in ledger.open_decisions()}
        return cls(frozenset(busy), ledger.settled(), ledger.trained_until())


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

    overview: Overview | None = None
    """The ledger at the begin of the tick; without it each model is looked at in full."""

    def is_busy(self, model: str) -> bool:
        """Whether something of a model may have to be answered, carried on or begun."""
        return self.overview is None or model in self.overview.busy

    @property
    def moment(self) -> Moment:
        """Both times."""
        return Moment(self.now, self.wall_clock)
