"""What a person asks for: a request is written to the ledger and followed to its end; its failure is the command's."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from rich.live import Live
from rich.spinner import Spinner

from console.display.output import console
from perennial.errors import NotFoundError, PerennialError
from perennial.ledger import Ledger
from perennial.loop.request import Request, Wish
from perennial.settings import Settings
from pipelines.log import Step, read_steps

Clock = Callable[[], datetime]
"""Gives the real time."""


def ask(settings: Settings, model: str, wish: Wish, now: datetime, clock: Clock) -> Request:
    """A request that is done, without a run.

    Args:
        settings: where things are.
        model: name of the model.
        wish: what is asked for.
        now: the time for which it is to be done, UTC.
        clock: gives the real time.

    Raises:
        PerennialError: nothing came of it, for this reason.
    """
    return _Followed(settings, _written(settings, model, wish, now, clock), clock).end()


def ask_for_run(
    settings: Settings, model: str, wish: Wish, now: datetime, clock: Clock, waits_for: Mapping[str, str] | None
) -> tuple[Request, list[Step]]:
    """A request that is done by a run, and the steps of that run as far as this machine has its log.

    Args:
        settings: where things are.
        model: name of the model.
        wish: what is asked for.
        now: the time for which it is to be done, UTC.
        clock: gives the real time.
        waits_for: what each step spends its time on, shown with it; None shows nothing.

    Raises:
        PerennialError: nothing came of it, for this reason; where a step broke, the error is that step's own.
    """
    followed = _Followed(settings, _written(settings, model, wish, now, clock), clock)
    steps = list(followed.steps(waits_for))
    return followed.end(), steps


def _written(settings: Settings, model: str, wish: Wish, now: datetime, clock: Clock) -> Request:
    with Ledger.open(settings.ledger) as ledger:
        return ledger.add_request(model, wish, made=clock(), now=now)


class _Followed:
    """A request on its way. Each look at it is a look of the controller's where nobody else is the controller."""

    def __init__(self, settings: Settings, request: Request, clock: Clock) -> None:
        from controller.watch import until_done

        self._settings = settings
        self._looks = until_done(settings, request, clock)
        self.request = request

    def is_done(self) -> bool:
        """Whether the request is done, after one more look."""
        self.request = next(self._looks, self.request)
        return self.request.state == "done"

    def end(self) -> Request:
        """The request, once it is done.

        Raises:
            PerennialError: nothing came of it.
        """
        with self._interruptible():
            while not self.is_done():
                pass
        if self.request.failure is not None:
            raise error_of(self.request)
        return self.request

    def steps(self, waits_for: Mapping[str, str] | None) -> Iterator[Step]:
        """The finished steps of its run; each is shown while it runs and when it has ended."""
        from pipelines.kept import lines_of

        printer = console()
        with self._interruptible(), Live(console=printer, transient=True, refresh_per_second=8) as live:
            log, said = None, ""
            while log is None and not self.is_done():
                log = self._log()
                if (elsewhere := self._elsewhere(log)) and elsewhere != said and waits_for is not None:
                    printer.print(elsewhere, soft_wrap=True)
                    said = elsewhere
            for step in () if log is None else read_steps(lines_of(self._settings, log, self.is_done)):
                if step.state == "running":
                    if waits_for is not None and sys.stdout.isatty():
                        live.update(Spinner("dots", f"{step.name}: waits for {waits_for.get(step.name, 'its work')}"))
                    continue
                if waits_for is not None:
                    live.update("")
                    printer.print(f"  {'✓' if step.state == 'succeeded' else '✗'} {step.name:<14} {step.seconds:6.1f} s")
                yield step

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            note = f"request {self.request.number} of {self.request.model} is kept"
            console().print(
                f"\nIt goes on without you: {note}. `perennial tick`, or a controller that watches, brings it to its end."
            )
            raise SystemExit(130) from None

    def _log(self) -> str | None:
        """Id of its run, once its log is on this disk or in the bucket."""
        from pipelines.kept import log_of

        with Ledger.open(self._settings.ledger) as ledger:
            try:
                owner = ledger.claim(self.request.key).owner
            except NotFoundError:
                return None
        return owner if log_of(self._settings, owner) is not None else None

    def _elsewhere(self, log: str | None) -> str:
        """That its run executes on another host, in a sentence; empty where it does not, or is not known to yet."""
        if log is not None or self._settings.pipelines is not None:
            return ""
        with Ledger.open(self._settings.ledger) as ledger:
            try:
                run = ledger.run(ledger.claim(self.request.key).owner)
            except NotFoundError:
                return ""
        if run.host is None or (self._settings.runs / run.run_id).exists():
            return ""
        return f"run {run.run_id} executes on {run.host}: its log is there, and this command waits for its end"


def error_of(request: Request) -> PerennialError:
    """The error that a request ended with, with the command that shows more where a run broke."""
    assert request.failure is not None  # the caller's question
    failure, run = request.failure, request.run
    if run is not None:
        failure = failure.model_copy(update={"sentence": f"{failure.sentence}\n  the run's log: perennial logs {run}"})
    return failure.error()
