"""What is stored about a model, gathered by whoever asks: the argument of every function here."""

from dataclasses import dataclass

from perennial.errors import SpecError
from perennial.ledger import Run, Version
from perennial.loop.decision import Decision, Incident
from perennial.loop.request import Request
from perennial.loop.rollout import Rollout
from perennial.loop.standing import Standing
from perennial.loop.window import WindowRecord
from perennial.spec.model import Model


@dataclass(frozen=True)
class Stored:
    """What is stored about a model."""

    name: str
    """The model."""
    spec: Model | SpecError | None = None
    """Its spec, what is wrong with it, or none when there is no file."""
    champion: Version | None = None
    """The version that has the traffic."""
    run: Run | None = None
    """Its newest run."""
    executing: bool = False
    """Whether a process executes that run."""
    gone: bool = False
    """Whether it executed on another host, of which nothing is heard any more."""
    unfinished: str = ""
    """Why nothing executes a run on a pipeline server that has no end; empty where it is a process of this machine."""
    claimed: bool = False
    """Whether the claim of that run is open: a controller goes on with it."""
    rollout: Rollout | None = None
    """The newest request for traffic."""
    deployed: str | None = None
    """Digest of the version that the local server, or the InferenceService, names; none when nothing was deployed."""
    traffic: Standing | str | None = None
    """How far the traffic is on a cluster, or why nobody can say; none where a process of this machine serves."""
    windows: tuple[WindowRecord, ...] = ()
    """Its newest windows, newest first."""
    decisions: tuple[Decision, ...] = ()
    """Its newest decisions, newest first."""
    incidents: tuple[Incident, ...] = ()
    """Its open incidents."""
    requests: tuple[Request, ...] = ()
    """What people asked for and is not done, oldest first."""
    logged: bool = False
    """Whether there is a prediction log on this machine."""

    @property
    def is_retired(self) -> bool:
        """Whether the spec is gone and nothing is deployed; not while the cluster does not say."""
        is_absent = self.traffic is None or (not isinstance(self.traffic, str) and self.traffic.state == "absent")
        return self.spec is None and self.deployed is None and is_absent

    @property
    def is_rolling_out(self) -> bool:
        """Whether the newest request for traffic is on its way."""
        return self.rollout is not None and self.rollout.state in ("requested", "checked")
