"""Who executes runs: an interface of five calls, local processes as one implementation, Kubeflow Pipelines as the other."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from subprocess import Popen
from typing import Protocol

from perennial.ledger import Ledger
from perennial.settings import Settings
from pipelines import runs
from pipelines.runs import RunStanding


class Runner(Protocol):
    """Prepares, starts and looks at runs. A run is prepared once, under an id that no other ever had."""

    def new_id(self, model: str, wall_clock: datetime) -> str:
        """A fresh id."""
        ...

    def prepare(self, run_id: str, parameters: dict[str, str]) -> str:
        """Keep the parameters of a run that is not started; returns where, for people. It may be repeated."""
        ...

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:
        """Execute a prepared run; one that was killed executes again, from its first step.

        Args:
            ledger: fenced by the controller's lease.
            run_id: the run.
            pipeline_run: id of a run on a pipeline server that a person started, and that is to execute it.

        Raises:
            PlatformError: it executes already, or cannot be started now.
        """
        ...

    def state(self, ledger: Ledger, run_id: str) -> RunStanding:
        """How it stands."""
        ...

    def stop(self, ledger: Ledger, run_id: str) -> None:
        """Nothing of a run that was given up executes any more, as far as that can be had."""
        ...


def real_time() -> datetime:
    """The real time, UTC."""
    return datetime.now(UTC)


def open_runner(settings: Settings, clock: Callable[[], datetime] = real_time) -> Runner:
    """The runner of an installation.

    Args:
        settings: where things are.
        clock: gives the real time.
    """
    if settings.pipelines is None:
        return LocalRunner(settings, clock)
    from pipelines.kubeflow.runner import KubeflowRunner

    return KubeflowRunner(settings, clock)


@dataclass(frozen=True)
class LocalRunner:
    """Runs as processes on this machine. They outlive the one that started them."""

    settings: Settings
    clock: Callable[[], datetime] = real_time
    """Gives the real time, by which the heartbeat of a run on another host is old or not."""
    _children: dict[str, Popen[bytes]] = field(default_factory=dict)
    """Processes that were started here and have not been seen to end: a process that nobody waits for stays in the table."""

    def new_id(self, model: str, wall_clock: datetime) -> str:
        """A fresh id."""
        return runs.new_id(model, wall_clock)

    def prepare(self, run_id: str, parameters: dict[str, str]) -> str:
        """The run's folder, with its parameters."""
        return runs.prepare(self.settings.runs, run_id, parameters)

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
        """A process of its own executes the run, whoever asked for it."""
        self._children[run_id] = runs.start(self.settings, run_id)

    def state(self, ledger: Ledger, run_id: str) -> RunStanding:
        """How it stands: its lock, then the ledger, which has the heartbeat of one that executes elsewhere."""
        child = self._children.get(run_id)
        if child is not None and child.poll() is not None:
            del self._children[run_id]
        return runs.state(self.settings.runs, ledger, run_id, self.clock())

    def stop(self, ledger: Ledger, run_id: str) -> None:
        """A run that was given up was killed, or has ended: nothing is left to stop."""
