"""What the controller measures: a quiet installation, work that is left, claims that are unclear, a budget that is spent."""

from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.metrics import Backlog, ControllerMetrics
from controller.tick import tick
from controller.ticked import Obstacle, Ticked
from perennial.errors import PlatformError
from perennial.ledger import Ledger
from perennial.settings import Settings
from pipelines.runs import RunStanding
from tests.controller.test_tick import retrain
from tests.controller.world import NAME, NOW, REAL, QuickRunner, tick_until_idle

BUDGETS = {NAME: 3}


def samples(metrics: ControllerMetrics) -> dict[str, float]:
    """Each sample by its name and labels, without what begins every name."""
    found = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        assert family.name.startswith("perennial_controller_") and family.documentation.endswith((".", ")."))
        for sample in family.samples:
            labels = ",".join(str(value) for value in sample.labels.values())
            found[f"{sample.name.removeprefix('perennial_controller_')}{{{labels}}}".removesuffix("{}")] = sample.value
    return found


def noted(metrics: ControllerMetrics, ledger: Ledger, ticked: Ticked) -> dict[str, float]:
    backlog = Backlog.read(ledger, ticked.now) if metrics.wants_backlog(ticked) else None
    metrics.note(ticked, REAL, 0.5, backlog, BUDGETS)
    return samples(metrics)


def test_before_the_first_tick_it_does_not_lead_and_has_no_good_tick() -> None:
    assert samples(ControllerMetrics()) == {
        "leads": 0,
        "tick_seconds": 0,
        "ticks_total{good}": 0,
        "ticks_total{failed}": 0,
        "ticks_total{standby}": 0,
    }


def test_a_quiet_installation_has_nothing_due_and_nothing_in_its_way(settings: Settings, ledger: Ledger) -> None:
    tick_until_idle(settings)
    metrics = ControllerMetrics()
    found = noted(metrics, ledger, tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings)))
    assert (found["leads"], found["ticks_total{good}"]) == (1, 1)
    assert found["last_good_tick_timestamp_seconds"] == REAL.timestamp()
    assert {name: found[f"{name}{{{NAME}}}"] for name in ("runs_in_flight", "claims_unclear", "problems")} == {
        "runs_in_flight": 0,
        "claims_unclear": 0,
        "problems": 0,
    }
    assert not [name for name in found if name.startswith("due")]
    assert found[f"retrainings_left{{{NAME}}}"] == 2, "one of three was carried out just now"


def test_after_an_idle_tick_the_ledger_is_not_asked_again(settings: Settings, ledger: Ledger) -> None:
    tick_until_idle(settings)
    metrics = ControllerMetrics()
    idle = tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings))
    assert idle.is_idle and metrics.wants_backlog(idle), "once"
    noted(metrics, ledger, idle)
    assert not metrics.wants_backlog(idle)
    assert metrics.wants_backlog(idle.model_copy(update={"waits": ("run x is executing",)}))


def test_a_run_that_executes_is_in_flight_and_what_waits_for_it_is_due(settings: Settings, ledger: Ledger) -> None:
    class Busy(QuickRunner):
        def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
            self.started.append(run_id)

        def state(self, ledger: Ledger, run_id: str) -> RunStanding:
            busy = RunStanding("executing", f"run {run_id} is executing")
            return busy if run_id in self.started else super().state(ledger, run_id)

    metrics, runner = ControllerMetrics(), Busy(settings)
    retrain(ledger, "a")
    found = noted(metrics, ledger, tick(settings, NOW, lambda: REAL, runner=runner))
    assert (found[f"runs_in_flight{{{NAME}}}"], found[f"claims_unclear{{{NAME}}}"]) == (1, 0), "started"
    assert f"due{{training,{NAME}}}" not in found
    retrain(ledger, "b")
    found = noted(metrics, ledger, tick(settings, NOW, lambda: REAL, runner=runner))
    assert (found[f"runs_in_flight{{{NAME}}}"], found[f"due{{training,{NAME}}}"]) == (1, 1), "seen to execute"
    assert found[f"acts_total{{{NAME},started}}"] == 1


def test_a_run_that_cannot_be_started_leaves_its_claim_unclear_and_a_problem(settings: Settings, ledger: Ledger) -> None:
    class Away(QuickRunner):
        def start(self, ledger: Ledger, run_id: str, pipeline_run: str = "") -> None:  # noqa: ARG002
            raise PlatformError(f"{run_id}: no place")

    found = noted(ControllerMetrics(), ledger, tick(settings, NOW, lambda: REAL, runner=Away(settings)))
    assert found[f"claims_unclear{{{NAME}}}"] == found[f"problems{{{NAME}}}"] == 1
    assert found[f"runs_in_flight{{{NAME}}}"] == 0
    assert found["ticks_total{good}"] == 1, "one model's problem stops no other"


def test_trainings_of_people_do_not_count_against_the_budget_and_old_ones_no_more(settings: Settings, ledger: Ledger) -> None:
    tick_until_idle(settings)
    (trained,) = ledger.trainings(NOW - timedelta(days=91))[NAME]
    assert trained == NOW, "version 1 was nobody's decision"
    metrics = ControllerMetrics()
    idle = tick(settings, NOW + timedelta(hours=1), lambda: REAL, runner=QuickRunner(settings))
    assert noted(metrics, ledger, idle)[f"retrainings_left{{{NAME}}}"] == 2
    later = idle.model_copy(update={"now": NOW + timedelta(days=92)})
    assert noted(metrics, ledger, later)[f"retrainings_left{{{NAME}}}"] == 3
    assert ledger.trainings(NOW) == {}


@pytest.mark.parametrize(
    ("broke", "result", "problem"), [(False, "standby", "b is the controller"), (True, "failed", "ledger: locked")]
)
def test_who_does_not_lead_says_nothing_of_models(
    settings: Settings, ledger: Ledger, broke: bool, result: str, problem: str
) -> None:
    metrics = ControllerMetrics()
    led = noted(metrics, ledger, tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings)))
    assert f"problems{{{NAME}}}" in led
    lost = Ticked(now=NOW, problems=(Obstacle(model="", sentence=problem),), holds_lease=False, broke=broke)
    found = noted(metrics, ledger, lost)
    assert (found["leads"], found[f"ticks_total{{{result}}}"]) == (0, 1)
    assert not [name for name in found if name.endswith(f"{{{NAME}}}")]
    assert found["last_good_tick_timestamp_seconds"] == led["last_good_tick_timestamp_seconds"], "its age grows"


def test_a_clock_that_went_back_is_no_good_tick(settings: Settings, ledger: Ledger) -> None:
    tick(settings, NOW, lambda: REAL, runner=QuickRunner(settings))
    back = tick(settings, NOW - timedelta(hours=1), lambda: REAL, runner=QuickRunner(settings))
    found = noted(ControllerMetrics(), ledger, back)
    assert (found["ticks_total{failed}"], found["problems"]) == (1, 1)
