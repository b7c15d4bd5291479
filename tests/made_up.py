"""Records of a made-up model in service, as monitoring and the controller would have written them: for tests of what is shown."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from perennial import errors
from perennial.evaluation.estimate import Estimate
from perennial.ledger import Ledger
from perennial.loop.decision import DecisionDraft, Fact
from perennial.loop.failure import Failure
from perennial.loop.rollout import Observation
from perennial.loop.window import Check, ColumnDrift, Labels, Loss, Measurement, Performance, Window
from perennial.settings import Settings
from perennial.training.recipe import Recipe
from tests.second_project import SPEC

NAME = "churn"
FIRST = datetime(2024, 4, 1, tzinfo=UTC)
"""A Monday: begin of the first window."""
WEEK = timedelta(days=7)
RECIPE = Recipe(kind="logistic", parameters={"c": 0.1}, columns=("amount",))
DIGESTS = tuple(letter * 64 for letter in "abcdef")
"""Digests of the versions 1, 2, …"""


def settings_in(folder: Path, policy: str = "{reasons: [scheduled, manual], max_age_days: 61}") -> Settings:
    """Settings of a project in a folder, with the spec of the made-up model."""
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})
    settings.models.mkdir()
    text = SPEC.replace("chargeback", NAME).replace("{reasons: [manual], mode: advisory}", policy)
    (settings.models / f"{NAME}.yaml").write_text(text)
    return settings


def estimate(value: float, around: float) -> Estimate:
    """An estimate with an interval of twice `around`."""
    return Estimate(value=value, low=value - around, high=value + around, standard_error=around / 2)


def column(name: str, drift: float | None, threshold: float | None, alarm: bool = False) -> ColumnDrift:
    """How a watched column stands."""
    verdict = "not judged" if drift is None or threshold is None else "alarm" if alarm else "quiet"
    said = f"{name} is {drift} against {threshold}."
    made = {
        "column": name,
        "method": "wasserstein",
        "window_over_window": drift,
        "threshold": threshold,
        "size_sd": 0.2,
        "distance": 0.1,
    }
    return ColumnDrift.model_validate(made | {"verdict": verdict, "sentence": said})


def measurement(
    rows: int = 1400, columns: Sequence[ColumnDrift] = (), checks: Sequence[Check] = (), champion: str = DIGESTS[0]
) -> Measurement:
    """What a window held."""
    return Measurement(
        rows=rows,
        versions={champion: rows},
        lost=0,
        damaged=(),
        repeated=0,
        champion=champion,
        blocks=13,
        columns=tuple(columns),
        checks=tuple(checks),
    )


def quiet_column(name: str) -> ColumnDrift:
    """A watched column that did not change."""
    return ColumnDrift(
        column=name,
        method="wasserstein",
        window_over_window=0.01,
        threshold=0.1,
        size_sd=0.02,
        distance=0.1,
        verdict="quiet",
        sentence=f"{name} is quiet.",
    )


def broken(subject: str) -> Check:
    """A check that failed."""
    said = f"40 % of {subject} are missing, at most 10 % are normal."
    return Check(name="nulls", subject=subject, value=0.4, limit=0.1, failed=True, sentence=said)


def performance(
    end: datetime, auc: float = 0.71, frozen: float | None = None, arrived: int = 1330, missing: int = 70
) -> Performance:
    """How the model did."""
    labels = Labels(matured_at=end + timedelta(hours=72), arrived=arrived, missing=missing)
    if not arrived:
        return Performance(labels=labels, label_rate=None, missing={"auc": "no label"})
    metrics = {"auc": estimate(auc, 0.02), "log_loss": estimate(1.1 - auc, 0.03), "utility": estimate(200 * (auc - 0.5), 12.0)}
    loss = Loss.model_validate(
        {
            "value": 1.1 - auc,
            "limit": 0.47,
            "blocks": 9,
            "basis": "since the champion's evaluation began",
            "degraded": 1.1 - auc > 0.47,
            "sentence": f"Mean log loss {1.1 - auc:.3f}, at most 0.470 is normal.",
        }
    )
    left = {} if frozen is None else {name: estimate(found.value - auc + frozen, 0.02) for name, found in metrics.items()}
    gain = None if frozen is None else estimate(200 * (auc - frozen), 8.0)
    return Performance(labels=labels, label_rate=0.08, metrics=metrics, frozen=left, gain=gain, loss=loss)


def fact(number: int, value: float | None = 0.5, limit: float | None = 0.6) -> Fact:
    """A fact with its own number in its sentence."""
    return Fact(name=f"column {number}", value=value, limit=limit, sentence=f"Fact {number} was seen.")


def draft(kind: str, reason: str | None = None, facts: int = 3) -> DecisionDraft:
    """What a policy concludes."""
    sentence = {
        "leave": "Nothing needs to be done: no window is degraded.",
        "retrain": f"The model is to be trained again: {reason}.",
        "fix data": "The source of amount is broken and must be mended before anything trains on it.",
    }[kind]
    stated = {"kind": kind, "reason": reason, "sentence": sentence, "otherwise": "Another column above its limit."}
    return DecisionDraft.model_validate(stated | {"facts": tuple(fact(number) for number in range(facts))})


def add_version(ledger: Ledger, number: int, trained_until: datetime) -> None:
    """A version is registered, and has the traffic since its training."""
    now = trained_until + timedelta(days=3)
    run = ledger.start_run(
        run_id=f"{NAME}-{number}", model=NAME, mode="search", started=now, now=now, spec="s" * 64, folder=f"/runs/{number}"
    )
    ledger.add_version(
        model=NAME,
        run_key=f"key {number}",
        digest=DIGESTS[number - 1],
        created=now,
        run_id=run.run_id,
        recipe=RECIPE,
        searched_at=now,
        trained_until=trained_until,
    )
    ended = {"outcome": "registered", "reason": "every gate passed", "run_key": f"key {number}", "dataset": "d" * 64}
    ledger.finish_run(run.run_id, finished=now + timedelta(minutes=1), **ended)
    rollout = ledger.request_rollout(model=NAME, number=number, now=now, reason="it passed its gates")
    for seen in ("checked", "promoted"):
        stated = {"seen": seen, "digest": rollout.digest, "time": now, "reason": f"it was {seen}", "loaded": True, "passed": True}
        rollout = ledger.move_rollout(rollout, Observation.model_validate(stated))
    assert rollout.state == "champion"


def add_window(ledger: Ledger, week: int, measured: Measurement, judged: Performance | None = None) -> Window:
    """A window is recorded, and its performance if there is one."""
    window = Window(start=FIRST + week * WEEK, end=FIRST + (week + 1) * WEEK)
    ledger.record_window(NAME, window, measured, now=window.end + timedelta(hours=1))
    if judged is not None:
        ledger.record_performance(NAME, window.start, judged)
    return window


def write_year(ledger: Ledger, weeks: int = 36) -> None:
    """Months in service: three versions, an incident, drift alarms, retrains; the newest window has not matured."""
    add_version(ledger, 1, FIRST - timedelta(days=4))
    for week in range(weeks):
        version = 1 + (week >= 9) + (week >= 20)
        if week in (9, 20):
            add_version(ledger, version, FIRST + week * WEEK - timedelta(days=4))
        end = FIRST + (week + 1) * WEEK
        columns = [
            column("amount", 0.04 + 0.06 * (week % 13 == 7), 0.08, alarm=week % 13 == 7),
            column("account_days", 0.02 + 0.002 * week, 0.11),
            column("probability", None if week < 4 else 0.05, 0.09),
        ]
        checks = [broken("pair_spend")] if week in (14, 15) else []
        held = measurement(1300 + 20 * (week % 7), columns, checks, DIGESTS[version - 1])
        auc = 0.72 - 0.004 * (week % 9)
        judged = performance(end, auc, None if version == 1 else auc - 0.002 * week / 4, missing=40 + 4 * week)
        add_window(ledger, week, held, judged if week < weeks - 1 else None)
        if week % 4 != 3 and week not in (9, 20, 14):
            continue
        kind, reason = ("fix data", None) if week == 14 else ("retrain", "scheduled") if week in (9, 20) else ("leave", None)
        now = end + timedelta(days=3)
        made, _ = ledger.add_decision(
            NAME, cause=f"{NAME}/monitor/{week}", now=now, draft=draft(kind, reason), windows=[end - WEEK], state="done"
        )
        if kind == "fix data":
            incident = ledger.open_incident(
                NAME,
                decision=made.number,
                now=now,
                owner="payments team",
                seen="40 % of pair_spend are missing.",
                subjects=["pair_spend"],
                excluded_from=end - WEEK,
                excluded_until=end + WEEK,
                needed=2,
            )
            closed = now + 3 * WEEK
            ledger.close_incident(NAME, incident.number, now=closed, closing="two clean windows")


def failure_of(said: str) -> Failure:
    """What a run broke with, from the kind of the error and what it says."""
    kind, _, sentence = said.partition(": ")
    return Failure.of(getattr(errors, kind)(sentence), "build-dataset")
