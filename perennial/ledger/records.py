"""What the ledger hands out: frozen records. Their storage stands in `perennial.ledger.tables`."""

from datetime import datetime
from typing import Literal

from perennial.loop.failure import Failure
from perennial.record import Record
from perennial.training.recipe import Recipe

Mode = Literal["search", "refit", "monitor"]
State = Literal["running", "succeeded", "failed"]


class Run(Record):
    """One run of a pipeline."""

    run_id: str
    """Identifies the run."""
    model: str
    """Name of the model."""
    mode: Mode
    """`search`: candidates are compared; `refit`: the champion's recipe is taken; `monitor`: nothing is trained."""
    started: datetime
    """When it began, UTC."""
    finished: datetime | None
    """When it ended, UTC; null while it runs."""
    state: State
    """`succeeded` says that the run came to its end, whatever it found; `failed` that it broke."""
    outcome: str | None
    """What it found: `registered`, `stopped`, `invalid data`, a decision's kind, `superseded`; null unless it succeeded."""
    run_key: str | None
    """Digests of spec, definitions, dataset, code and seed, hashed together; null before there is a dataset."""
    dataset: str | None
    """Digest of the dataset; null before it is built."""
    spec: str
    """Digest of the model spec."""
    now: datetime
    """The time for which it trained, UTC: nothing known later was used."""
    reason: str
    """One sentence: how it ended; empty while it runs."""
    folder: str
    """Folder of the run's steps and logs."""
    mlflow_run_id: str | None
    """Its run in MLflow; null before it is logged."""
    claim: str | None = None
    """Key of the claim that it carries out; null in a run from before there were claims."""
    decision: int | None = None
    """Number of the decision that it carries out; null when it monitors."""
    failure_kind: str | None = None
    """What it broke with: the name of an error's type, or `given up`; null unless it failed."""
    failure_retry: bool | None = None
    """Whether the same may work later; null unless it failed."""
    failure_step: str | None = None
    """The step that broke, empty where none did; null unless it failed."""
    host: str | None = None
    """Host and process that execute it, or did last; null before it was executed, and in a run from before this was noted."""
    heartbeat: datetime | None = None
    """When that process last said that it lives, UTC, real time; null as `host` is."""

    @property
    def failure(self) -> Failure | None:
        """What it broke with; None unless it failed."""
        if self.failure_kind is None:
            return None
        return Failure(kind=self.failure_kind, retry=bool(self.failure_retry), step=self.failure_step or "", sentence=self.reason)

    @property
    def why(self) -> str:
        """How it ended, for people: of a run that failed with the kind of its failure."""
        return self.reason if self.failure_kind is None else f"{self.failure_kind}: {self.reason}"


class Version(Record):
    """One registered version of a model. Its files lie in the folder of that digest (`perennial.versions.folder`)."""

    model: str
    """Name of the model."""
    number: int
    """Counts from 1 within the model."""
    run_key: str
    """Digests of spec, definitions, dataset, code and seed, hashed together; unique within the model."""
    digest: str
    """Digest of the version folder's manifest, which is the folder's name."""
    created: datetime
    """When it was registered, UTC."""
    run_id: str
    """The run that made it."""
    recipe: Recipe
    """How it was fitted; what a refit repeats."""
    searched_at: datetime
    """When its recipe was found by a search, UTC; handed on by refits."""
    trained_until: datetime
    """End of its training rows, exclusive, UTC."""


class Submission(Record):
    """A run that was handed to a pipeline server, once. The row is there before the server is asked."""

    run_id: str
    """The run."""
    attempt: int
    """Counts from 1 within the run."""
    pipeline_run: str
    """Its id on the server, fresh for each attempt: whoever executes the run carries the newest, or stands aside."""
    posted: datetime
    """When it was handed over, UTC, real time."""
    refusal: str
    """Why the server refused it; empty where it did not."""


class Lease(Record):
    """Who acts as the controller, and until when unless it says so again. By the real clock."""

    name: str
    """What is leased."""
    holder: str
    """Who has it: host and process."""
    token: int
    """Fencing token: counts up whenever it is taken anew."""
    expires: datetime
    """Until when, UTC, real time."""
    ticked: datetime | None
    """The newest time for which its holders ticked, UTC; may be a simulated one. Null before the first tick."""


class Fence(Record):
    """Under which claim or lease a writer acts."""

    kind: Literal["claim", "lease"]
    """Which of the two."""
    key: str
    """Key of the claim, or name of the lease."""
    token: int
    """The token that the writer was given."""
