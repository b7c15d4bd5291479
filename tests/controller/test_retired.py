"""A model that was removed from the project: it is named at each tick, and its service ends when a person asks for it."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.serving import retire
from controller.tick import tick
from controller.watch import until_done
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.ledger import Ledger
from perennial.loop.request import Request, Retire
from perennial.settings import Settings
from tests.cluster.api import KSERVE, Api, kubeconfig, running
from tests.controller.world import NAME, NOW, REAL, QuickRunner
from tests.serving.deployers import made

REASON = "replaced by another model"


def ticked(settings: Settings) -> list[str]:
    """What a tick notes, with the name of the model."""
    found = tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings))
    return [f"{note.model}: {note.sentence}" for note in found.notes]


def remove_spec(settings: Settings) -> Path:
    spec = settings.models / f"{NAME}.yaml"
    spec.unlink()
    return spec


def asked(settings: Settings, ledger: Ledger, model: str = NAME, looks: int = 20) -> Request:
    """The request after some looks of the process that follows it."""
    request = ledger.add_request(model, Retire(reason=REASON), made=REAL, now=NOW)
    steps = until_done(settings, request, lambda: REAL, runner=QuickRunner(settings), pause_seconds=0)
    return list(itertools.islice(steps, looks))[-1]


def kept(ledger: Ledger) -> tuple[object, ...]:
    return ledger.versions(NAME), ledger.rollouts(NAME), ledger.runs(NAME), ledger.decisions(NAME)


def test_a_removed_model_is_noted_until_its_service_ends_and_keeps_all_its_records(settings: Settings, ledger: Ledger) -> None:
    assert ticked(settings) == [] and settings.current(NAME).exists()
    content, spec = (settings.models / f"{NAME}.yaml").read_text(), remove_spec(settings)
    (note,) = ticked(settings)
    assert note.startswith(f"{NAME}: ") and "is gone, and what was deployed" in note and f"`perennial retire {NAME}" in note
    records, log = kept(ledger), sorted(settings.prediction_log(NAME).iterdir())

    done = asked(settings, ledger)
    assert (done.state, done.failure, done.outcome) == ("done", None, "its versions, records and predictions are kept")
    assert not settings.current(NAME).exists()
    assert ticked(settings) == []
    assert kept(ledger) == records and sorted(settings.prediction_log(NAME).iterdir()) == log
    assert asked(settings, ledger).failure is None, "it may be asked for again"

    spec.write_text(content)
    ticked(settings)
    assert settings.current(NAME).exists(), "a spec brings the champion back"


def test_while_the_spec_is_there_nothing_ends_and_the_way_is_said(settings: Settings, ledger: Ledger) -> None:
    ticked(settings)
    done = asked(settings, ledger)
    assert done.failure is not None and isinstance(done.failure.error(), DataError)
    assert f"models/{NAME}.yaml: is there" in done.failure.sentence and "remove the file" in done.failure.sentence
    assert settings.current(NAME).exists()


def test_an_unknown_name_is_answered_with_the_models_that_have_no_spec(settings: Settings, ledger: Ledger) -> None:
    ticked(settings)
    done = asked(settings, ledger, "chargebak")
    assert done.failure is not None and done.failure.sentence.endswith("without a spec there are: none")
    remove_spec(settings)
    done = asked(settings, ledger, "chargebak")
    assert done.failure is not None and isinstance(done.failure.error(), NotFoundError)
    assert done.failure.sentence.endswith(f"without a spec there are: {NAME}")


def test_a_model_that_only_the_deployer_knows_is_retired_too(settings: Settings, ledger: Ledger) -> None:
    ticked(settings)
    lost = settings.current("lost")
    lost.parent.mkdir()
    lost.write_text(settings.current(NAME).read_text())
    (note,) = ticked(settings)
    assert note.startswith("lost: ")
    assert asked(settings, ledger, "lost").failure is None
    assert not lost.exists() and settings.current(NAME).exists()


def test_the_command_says_what_ended(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    ticked(settings)
    with pytest.raises(DataError, match="a model is retired after its spec was removed"):
        retire(settings, NAME, REASON, lambda: REAL, json=False)
    remove_spec(settings)
    retire(settings, NAME, REASON, lambda: REAL, json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{NAME}: nothing of it is deployed any more; its versions, records and predictions are kept" in said
    assert "a server of this machine that runs serves until it is ended" in said
    retire(settings, NAME, REASON, lambda: REAL, json=True)
    assert f'"retired": "{NAME}"' in capsys.readouterr().out


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Api]:
    """A stand-in for an API server with KServe, which the environment names."""
    api = Api(KSERVE)
    api.keep(made.runtime("team"))
    api.keep(made.storage_container())
    with running(api) as address:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", address)))
        yield api


@pytest.fixture
def on_cluster(settings: Settings) -> Settings:
    return settings.model_copy(update={"namespace": "team"})


def services(api: Api) -> dict[str, dict[str, object]]:
    return {path: stored for path, stored in api.objects.items() if "/inferenceservices/" in path}


def events(api: Api) -> list[str]:
    return [f"{stored['reason']}: {stored['message']}" for path, stored in api.objects.items() if "/events/" in path]


def test_on_a_cluster_the_service_is_deleted_and_waited_for(on_cluster: Settings, ledger: Ledger, api: Api) -> None:
    assert ticked(on_cluster) == []
    ((path, stored),) = services(api).items()
    remove_spec(on_cluster)
    (note,) = ticked(on_cluster)
    assert f"`perennial retire {NAME}" in note

    api.deletes = False  # what it owns must go first
    request = asked(on_cluster, ledger, looks=1)
    assert request.state == "acting" and f"DELETE {path}" in api.asked
    api.keep(stored | {"metadata": stored["metadata"] | {"deletionTimestamp": "x", "finalizers": ["foregroundDeletion"]}})  # type: ignore[operator]
    found = tick(on_cluster, NOW, lambda: REAL, runner=QuickRunner(on_cluster))
    assert found.waits == (f"InferenceService {NAME} is being deleted, and waits for foregroundDeletion",)
    assert found.notes == () and api.asked.count(f"DELETE {path}") == 1
    del api.objects[path]
    tick(on_cluster, NOW, lambda: REAL, runner=QuickRunner(on_cluster))
    assert ledger.request(NAME, request.number).state == "done"
    assert events(api)[1:] == [f"Retired: version 1 serves no more: a person retired the model: {REASON}"]


def test_what_is_not_perennials_is_not_deleted(on_cluster: Settings, ledger: Ledger, api: Api) -> None:
    ticked(on_cluster)
    ((path, stored),) = services(api).items()
    remove_spec(on_cluster)
    stored["metadata"]["labels"] = {}  # type: ignore[index]
    assert ticked(on_cluster) == []
    done = asked(on_cluster, ledger)
    assert done.failure is not None and "it is not Perennial's, and stays" in done.failure.sentence
    assert path in services(api)


def test_a_cluster_that_does_not_answer_ends_the_request_and_is_said_by_the_tick(
    on_cluster: Settings, ledger: Ledger, api: Api
) -> None:
    ticked(on_cluster)
    remove_spec(on_cluster)
    api.refused["GET", "/apis/serving.kserve.io/v1beta1/namespaces/team/inferenceservices"] = 503
    done = asked(on_cluster, ledger)
    assert done.failure is not None and isinstance(done.failure.error(), PlatformError)
    found = tick(on_cluster, NOW, lambda: REAL, runner=QuickRunner(on_cluster))
    assert [problem.sentence.partition(":")[0] for problem in found.problems] == [
        "whether a model without a spec serves is not known"
    ]
    assert len(services(api)) == 1


def test_a_tick_says_what_it_repaired_and_who_had_changed_it(on_cluster: Settings, api: Api) -> None:
    for _ in range(6):  # a monitoring run, a training, its version
        ticked(on_cluster)
    ((_, stored),) = services(api).items()
    assert tick(on_cluster, NOW, lambda: REAL, runner=QuickRunner(on_cluster)).acts == ()
    api.change(stored, "kubectl-patch", "2026-01-02T03:04:00Z", predictor={"model": {"image": "a:1"}})
    found = tick(on_cluster, NOW, lambda: REAL, runner=QuickRunner(on_cluster))
    (act,) = [act for act in found.acts if act.what == "repaired"]
    assert "spec.predictor.model.image 'a:1' (set by kubectl-patch on 2026-01-02 03:04)" in act.sentence
    assert events(api)[-1] == f"Repaired: {act.sentence}"
