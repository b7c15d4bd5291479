"""The Models of a cluster within one tick: read before anything is done, told at its end how they stand.

The edge: it reads and writes the API server, and concludes nothing. A tick goes on where the API server does not answer.
"""

from collections.abc import Callable, Iterator, Sequence

from cluster import events
from cluster.apply import apply_status, get, list_at, own, strike_annotation
from cluster.client import Client, Object, RefusedError
from controller.context import Context
from controller.models.annotations import Asked, asked_of, wish_of
from controller.models.definition import API_VERSION, KIND
from controller.models.object_status import News, news, object_status
from controller.models.specs import Followed, take_in
from controller.stored import stored_of
from controller.ticked import Obstacle
from perennial.errors import FencedError, NotFoundError, PerennialError, PlatformError
from perennial.outages import translated
from perennial.status.model_status import status_of
from serving.deployers import open_deployer
from serving.deployers.inference_service import MANAGED_BY
from serving.deployers.on_kserve import SERVICES


def follow(context: Context) -> tuple[tuple[Followed, ...], tuple[Obstacle, ...]]:
    """The Models of the namespace, their good specs as files and their annotations as requests; and what was in the way.

    Raises:
        FencedError: the lease was taken.
    """
    if context.settings.models_from == "files":
        return (), ()
    problems = list[Obstacle]()
    try:
        with Client.open() as client:
            objects = list_at(client, API_VERSION, KIND, context.settings.namespace, {})
            followed = take_in(objects, context.settings.models)
            for one in followed:
                problems += _refused(one)
                problems += _answered(context, client, one.object)
    except FencedError:
        raise
    except NotFoundError as error:
        lacks = f"{error}: apply k8s/base/model/crd.yaml, or set PERENNIAL_MODELS_FROM=files; the specs of before go on"
        return (), (Obstacle(model="", sentence=lacks),)
    except Exception as error:  # a tick does what it can with the specs of before
        said = translated(error, "tick", "this sentence")
        return (), (Obstacle(model="", sentence=f"the Models of the cluster are not read now: {said}; those of before go on"),)
    return followed, tuple(problems)


def is_object(context: Context, name: str) -> bool:
    """Whether there is a Model of this name in the cluster, where specs come from there.

    Raises:
        PlatformError: the API server does not answer or refuses.
    """
    if context.settings.models_from == "files":
        return False
    with Client.open() as client:
        objects = list_at(client, API_VERSION, KIND, context.settings.namespace, {})
    return any(one["metadata"]["name"] == name for one in objects)


def tell(context: Context, followed: Sequence[Followed], keep: Callable[[], None]) -> tuple[Obstacle, ...]:
    """Each Model says how it stands, where that is not what it says already; what changed is an event.

    Args:
        context: what the tick works with.
        followed: the Models of this tick.
        keep: keeps the lease; called before each Model.

    Raises:
        FencedError: the lease was taken.
    """
    problems = list[Obstacle]()
    if not followed:
        return ()
    try:
        deployer = open_deployer(context.settings)
        with Client.open() as client:
            for one in followed:
                keep()
                try:
                    _bind(client, one.object)  # first: a Model that was deleted meanwhile has no status to write
                    stored = stored_of(context.settings, deployer, context.ledger, one.name, context.runner)
                    before = one.object.get("status") or {}
                    status = status_of(stored, True, context.now)
                    after = object_status(status, stored, one.reading, before, context.wall_clock)
                    if after != before:
                        _write(context, client, one.object, after)
                except FencedError:
                    raise
                except Exception as error:  # whatever one Model comes to, the others are told
                    said = translated(error, "tick", "this sentence")
                    problems.append(Obstacle(model=one.name, sentence=f"its status in the cluster is old: {said}"))
                    if isinstance(said, PlatformError) and not isinstance(said, RefusedError):
                        break  # the API server is away: the next tick goes on
    except FencedError:
        raise
    except PerennialError as error:
        problems.append(Obstacle(model="", sentence=f"the Models' statuses in the cluster are old: {error}"))
    return tuple(problems)


def _bind(client: Client, found: Object) -> None:
    """What serves a Model goes with it: the cluster deletes it, whether a controller is at work or not."""
    metadata = found["metadata"]
    try:
        service = get(client, *SERVICES, metadata["name"], metadata["namespace"])
        if service is not None and service["metadata"].get("labels", {}).items() >= MANAGED_BY.items():
            own(client, service, found)
    except NotFoundError:
        return  # no such kind, or gone meanwhile: nothing serves


def _write(context: Context, client: Client, found: Object, after: Object) -> None:
    apply_status(client, found, after)
    for one in news(found.get("status") or {}, after):
        _say(context, client, found, one)


def _say(context: Context, client: Client, found: Object, said: News) -> None:
    events.record(client, found, said.reason, said.message, context.wall_clock, said.severity)


def _refused(one: Followed) -> Iterator[Obstacle]:
    if one.reading.mistakes:
        first, more = one.reading.mistakes[0], len(one.reading.mistakes) - 1
        rest = f", and {more} more" * bool(more)
        yield Obstacle(model=one.name, sentence=f"the object's spec is not accepted: {first}{rest}; `kubectl describe` shows all")


def _answered(context: Context, client: Client, found: Object) -> Iterator[Obstacle]:
    """What annotations ask for is requested, once, and each is struck out after that; one that was changed meanwhile is new."""
    name = str(found["metadata"]["name"])
    try:
        for asked in asked_of(found):
            said = list(_request(context, name, asked))
            strike_annotation(client, found, asked.name)
            for one in said:
                _say(context, client, found, one)
    except FencedError:
        raise
    except PerennialError as error:
        yield Obstacle(model=name, sentence=f"its annotations are taken up by the next tick: {error}")


def _request(context: Context, model: str, asked: Asked) -> Iterator[News]:
    wish = wish_of(asked)
    if isinstance(wish, str):
        yield News("RequestRefused", wish, "Warning")
    elif not asked.who or context.ledger.request_because(model, asked.reason) is None:
        request = context.ledger.add_request(model, wish, made=context.wall_clock, now=context.now)
        yield News("Requested", f"request {request.number} ({wish.kind}): {asked.reason}")
