"""Runs on Kubeflow Pipelines, as the controller sees them: prepared in the bucket, handed over once, believed by the ledger only.

A run that executes there is never taken for dead: the server's word counts only where the ledger has no end and the server says
that nothing executes. A row of the ledger precedes each submission, so that whatever is lost on the way is found again.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from perennial.errors import NotFoundError, PlatformError
from perennial.ledger import Ledger, Run, Submission
from perennial.settings import Settings
from pipelines import runs
from pipelines.kubeflow import bundle
from pipelines.kubeflow.api import PipelineServer
from pipelines.kubeflow.compiled import Compilation, named
from pipelines.kubeflow.prepared import Prepared
from pipelines.runs import RunStanding

ANSWER_SECONDS = 120
"""How long a submission may be unknown to the server: it makes the workflow first and the run's row second."""
DEADLINES = {"training": timedelta(hours=8), "monitoring": timedelta(hours=3)}
"""From its submission on: more than the pod's own limit, which counts from the pod's begin only."""


@dataclass(frozen=True)
class KubeflowRunner:
    """Runs as pods of Kubeflow Pipelines."""

    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    """Gives the real time."""
    _servers: list[PipelineServer] = field(default_factory=list)
    """The server, once it was asked."""

    def new_id(self, model: str, wall_clock: datetime) -> str:
        """A fresh id."""
        return runs.new_id(model, wall_clock)

    def prepare(self, run_id: str, parameters: dict[str, str]) -> str:
        """The bucket has the project and the run's parameters."""
        return Prepared(bundle=bundle.store(self.settings), parameters=parameters).store(self.settings.bucket, run_id)

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:
        """Hand a run over, or note that a run which a person started on the server executes it."""
        run, newest = ledger.run(run_id), ledger.newest_submission(run_id)
        if newest is not None:
            standing = self._standing(run, newest)
            if standing.state == "executing":
                raise PlatformError(f"run {run_id} was submitted already: {standing.sentence}")
            self._server.terminate(newest.pipeline_run)
            pipeline_run = ""  # what a person started executes the first start only
        image, experiment = named(self.settings.steps_image), ""
        if not pipeline_run:
            experiment = self._server.experiment(self.settings.name, self.settings.namespace)
        attempt = 1 if newest is None else newest.attempt + 1
        submission = Submission(
            run_id=run_id, attempt=attempt, pipeline_run=pipeline_run or str(uuid.uuid4()), posted=self.clock(), refusal=""
        )
        if not ledger.add_submission(submission):
            raise PlatformError(f"run {run_id} was submitted at the same moment by another process, which goes on with it")
        if not pipeline_run:
            self._hand_over(ledger, run, submission, image, experiment)

    def state(self, ledger: Ledger, run_id: str) -> RunStanding:
        """How it stands: by the ledger, then by what the server says of the newest submission."""
        try:
            run = ledger.run(run_id)
        except NotFoundError:
            return RunStanding("unknown", f"run {run_id} was never prepared")
        newest = ledger.newest_submission(run_id)
        if run.state != "running":
            return RunStanding("ended", f"run {run_id} has ended")
        if newest is None and run.heartbeat is None:
            return RunStanding("dead", f"run {run_id} was never submitted")
        if newest is None:  # a process of some machine began it, before runs were handed over: the bucket has nothing of it
            return runs.standing_elsewhere(run, self.clock())
        standing = self._standing(run, newest)
        if standing.state != "executing" and ledger.run(run_id).state != "running":  # it ended between the two questions
            return RunStanding("ended", f"run {run_id} has ended")
        return standing

    def stop(self, ledger: Ledger, run_id: str) -> None:
        """Nothing of the run executes any more, as far as the server can be asked."""
        newest = ledger.newest_submission(run_id)
        if newest is not None:
            self._server.terminate(newest.pipeline_run)

    @property
    def _server(self) -> PipelineServer:
        if not self._servers:
            assert self.settings.pipelines is not None  # that is why this runner was chosen
            self._servers.append(PipelineServer(self.settings.pipelines))
        return self._servers[0]

    def _hand_over(self, ledger: Ledger, run: Run, submission: Submission, image: str, experiment: str) -> None:
        """One request. Where its answer is lost, the run may execute: its state is asked for later; nothing is repeated now."""
        kind = _kind(run)
        parameters = {"model": run.model, "now": run.now.isoformat(), "run": run.run_id}
        name = f"{run.model}: {kind} for {run.now:%Y-%m-%d %H:%M}"
        try:
            refusal = self._server.submit(submission.pipeline_run, name, Compilation(kind, image).spec(), parameters, experiment)
        except PlatformError:
            return
        if refusal:  # it counts as a start: what the server refuses three times it is not asked a fourth
            ledger.refuse_submission(submission, refusal)

    def _standing(self, run: Run, newest: Submission) -> RunStanding:
        """Whether the newest submission of a run that has no end executes."""
        where, age = f"pipeline run {newest.pipeline_run}", self.clock() - newest.posted
        if newest.refusal:
            return RunStanding("dead", f"{where} was refused: {newest.refusal}")
        if age > DEADLINES[_kind(run)]:
            return RunStanding("dead", f"{where} had no end {age.total_seconds() / 3600:.0f} hours after it was submitted")
        hint, said = self._server.hint(newest.pipeline_run)
        if hint == "missing" and age.total_seconds() > ANSWER_SECONDS:
            return RunStanding("dead", f"{where}: {said}")
        if hint == "terminated":
            return RunStanding("terminated", f"a person ended {where}")
        if hint == "over":
            why = "its pod was killed, never began, or lacks a setting"
            return RunStanding("dead", f"{where} is {said} without an end of the run: {why}")
        return RunStanding("executing", f"run {run.run_id} is executing as {where} ({said})")


def _kind(run: Run) -> str:
    return "monitoring" if run.mode == "monitor" else "training"
