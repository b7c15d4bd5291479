"""What a person asks for, brought to a prepared run or to its end by a controller that starts nothing."""

from datetime import datetime

from controller.context import Context
from controller.runner import LocalRunner
from controller.tick import tick
from perennial.ledger import Ledger
from perennial.loop.request import Request, Train, Wish
from perennial.settings import Settings


class Held(LocalRunner):
    """Prepares runs in their folders; whoever wants one starts it by hand."""

    def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
        assert (self.settings.runs / run_id / "parameters.json").exists()


def context_of(settings: Settings, ledger: Ledger, now: datetime, real: datetime) -> Context:
    """What a tick would work with."""
    return Context(settings, ledger, Held(settings), now, real)


def asked(settings: Settings, model: str, wish: Wish, now: datetime, real: datetime) -> Request:
    """The request after one look of a controller.

    Raises:
        PerennialError: it failed.
    """
    with Ledger.open(settings.ledger) as ledger:
        request = ledger.add_request(model, wish, made=real, now=now)
        tick(settings, now, lambda: real, runner=Held(settings), unasked=False)
        request = ledger.request(model, request.number)
    if request.failure is not None:
        raise request.failure.error()
    return request


def prepared(settings: Settings, model: str, now: datetime, real: datetime, wish: Wish | None = None) -> str:
    """Id of a prepared run that a person asked for; a training where nothing else is.

    Raises:
        PerennialError: it could not be prepared.
    """
    request = asked(settings, model, wish or Train(), now, real)
    with Ledger.open(settings.ledger) as ledger:
        return ledger.claim(request.key).owner
