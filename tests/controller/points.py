"""The points at which a tick can be interrupted so that it matters: before and after each ledger write and each outgoing call.

They are found by running, not listed: whatever goes through the wrapped clients is counted. What writes without going through
them is noticed by an audit hook (files, processes) and by the database's own events (statements).
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection

from controller import dispatch
from controller.watch import until_done
from monitoring.windows import due
from perennial import registry
from perennial.evaluation.gates import GateResult
from perennial.ledger import Ledger, transactions
from perennial.settings import Settings
from serving import rollouts
from serving.deployers import local
from tests.controller.world import NAME, REAL, QuickRunner, settings_of, tick_until_idle

WRITES = ("insert", "update", "delete", "create", "drop", "alter")


def replace(owner: object, name: str, call: object) -> None:
    """The owner has this call under this name, in this process."""
    setattr(owner, name, call)


class Points:
    """Counts the points that this process comes to, and dies at one of them."""

    def __init__(self, settings: Settings, die_at: int | None) -> None:
        self.state, self.die_at = settings.state, die_at
        self.reached: list[str] = []
        self.outside: list[str] = []
        self._depth = 0

    def reach(self, name: str) -> None:
        if len(self.reached) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.reached.append(name)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        self.reach(f"before {name}")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self.reach(f"after {name}")

    def wrapped(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **named: Any) -> Any:
            with self.inside(name):
                return call(*arguments, **named)

        return wrapper

    def install(self, runner: QuickRunner) -> None:
        """Wrap the clients of this process, for good: it is a child that ends after its ticks."""
        write = transactions.Transactions._write

        @contextmanager
        def counted(ledger: transactions.Transactions) -> Iterator[Connection]:
            with self.inside(f"ledger write by {sys._getframe(2).f_code.co_name}"), write(ledger) as connection:
                yield connection

        replace(transactions.Transactions, "_write", counted)
        for name in ("prepare", "start"):
            setattr(runner, name, self.wrapped(f"runner.{name}", getattr(runner, name)))
        alias = self.state / "alias"
        for name in ("deploy", "retire"):
            replace(local, name, self.wrapped(name, getattr(local, name)))
        noted = self.wrapped("MLflow alias", lambda _settings, *, model, number: alias.write_text(f"{model} {number}"))
        replace(registry, "set_champion", noted)
        replace(dispatch, "due", self.wrapped("prediction log", due))
        passed = GateResult(name="serving", verdict="pass", sentence="It answers.", numbers={})
        replace(rollouts, "checked", self.wrapped("serving check", lambda *_: passed))
        sys.addaudithook(self._audit)
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", self._execute)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._depth or event not in ("open", "os.rename", "os.remove", "os.mkdir", "subprocess.Popen", "socket.connect"):
            return
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in str(mode or "") for letter in "wax+") or int(flags or 0) & (os.O_WRONLY | os.O_RDWR)
            if not writes or not str(path).startswith(str(self.state)):
                return
        if event == "os.mkdir" and os.path.isdir(arguments[0]):  # noqa: PTH112 - Path would be audited again
            return
        self.outside.append(f"{event} {arguments[0]}")

    def _execute(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not self._depth and statement.lstrip().lower().startswith(WRITES):
            self.outside.append(f"statement {statement[:60]}")


def ticks(
    folder: Path, die_at: int | None, minutes: int, plant: Callable[[Settings], None] | None = None, *, is_asked: bool = False
) -> Any:
    """Be the controller in this process, which may die on the way: the points that were reached, and what was written outside.

    Where a person asked for something, until that is done; else until nothing is due any more.
    """
    settings, real = settings_of(folder), REAL + timedelta(minutes=minutes)
    runner, points = QuickRunner(settings, first_breaks=not is_asked), Points(settings, die_at)
    if is_asked:
        with Ledger.open(settings.ledger) as ledger:
            request = ledger.request(NAME, 1)
        points.install(runner)
        for _ in until_done(settings, request, lambda: real, runner=runner, pause_seconds=0):
            pass
    else:
        points.install(runner)
        tick_until_idle(settings, real, runner)
    if plant is not None:
        plant(settings)
    return {"reached": points.reached, "outside": points.outside}
