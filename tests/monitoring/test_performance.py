"""How the served model did: metrics of what was served, the first version beside it, whether it is degraded, by which weeks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring.evidence import measure_due, perform_due
from monitoring.labels import labels_by
from monitoring.performance import OUT_OF_FOLD, FrozenBaseline, Served, earlier_losses, judged_loss, perform
from monitoring.windows import LoggedWindow, matures
from perennial.errors import NotFoundError
from perennial.evaluation.metrics import Baseline
from perennial.lifecycle.judgement import Champion
from perennial.loop.window import Check, Labels, Loss, Measurement, Performance, WindowRecord
from perennial.versions.folder import open_version
from perennial.versions.thresholds import Thresholds, WeekLoss
from tests.monitoring.world import END, NAME, WEEK, World

pytestmark = pytest.mark.xdist_group("watched model")


@pytest.fixture(scope="module")
def thresholds(world: World) -> Thresholds:
    return Thresholds.read(open_version(world.settings.versions / NAME / world.digest).file("thresholds"))


def judged(
    world: World, logged: LoggedWindow, thresholds: Thresholds | None, frozen: FrozenBaseline | None = None
) -> Performance:
    labels = labels_by(world.settings, world.model, logged.window.start, matures(logged.window, world.model))
    served = Served(world.digest, world.contract.threshold, Baseline(probability=0.2, acts=False), thresholds)
    return perform(logged, labels, world.model, served, frozen, {})


def test_metrics_are_those_of_what_was_served(world: World, thresholds: Thresholds) -> None:
    logged, _ = world.logged(2)
    found = judged(world, logged, thresholds)
    assert (found.labels.arrived, found.labels.missing) == (len(logged.frame), 0)
    assert found.labels.matured_at == logged.window.end + (matures(logged.window, world.model) - logged.window.end)
    assert found.metrics["auc"].low < found.metrics["auc"].value < found.metrics["auc"].high
    assert found.metrics["auc"].value > 0.7
    assert found.label_rate is not None and 0.1 < found.label_rate < 0.5
    assert [(criterion.name, criterion.met) for criterion in found.criteria] == [("ranks-well", True)]
    assert found.loss is not None and not found.loss.degraded
    assert found.metrics["unlabelled_share"].value == 0


def test_a_window_without_labels_says_so(world: World, thresholds: Thresholds) -> None:
    logged, _ = world.logged(2)
    without = LoggedWindow(logged.window, logged.frame.drop(columns="fields.parcel_id"), 0, 0, ())
    found = judged(world, without, thresholds)
    assert (found.labels.arrived, found.labels.missing, found.label_rate, found.loss) == (0, len(logged.frame), None, None)
    assert [criterion.met for criterion in found.criteria] == [None]


def test_a_rejected_row_is_no_prediction(world: World, thresholds: Thresholds) -> None:
    logged, _ = world.logged(2)
    frame = logged.frame.assign(probability=logged.frame["probability"].where(logged.frame.index >= 50))
    found = judged(world, LoggedWindow(logged.window, frame, 0, 0, ()), thresholds)
    assert (found.labels.arrived, found.labels.missing) == (len(frame) - 50, 0)


def first_version(world: World) -> FrozenBaseline:
    return FrozenBaseline(world.digest, Champion.read(world.settings.versions / NAME / world.digest))


def test_the_first_version_is_not_beside_itself(world: World, thresholds: Thresholds) -> None:
    found = judged(world, world.logged(2)[0], thresholds, first_version(world))
    assert (found.frozen, found.frozen_reason, found.gain) == ({}, "the first version is what served", None)


def test_the_frozen_baseline_is_scored_on_what_was_logged(world: World, thresholds: Thresholds) -> None:
    logged, _ = world.logged(2)
    random = np.random.default_rng(0)
    worse = logged.frame.assign(version="another", probability=random.uniform(size=len(logged.frame)))
    found = judged(world, LoggedWindow(logged.window, worse, 0, 0, ()), thresholds, first_version(world))
    itself = judged(world, logged, thresholds)
    for name in ("auc", "log_loss", "utility"):
        assert found.frozen[name].value == pytest.approx(itself.metrics[name].value, abs=1e-9)
    assert found.gain is not None
    assert found.gain.value == pytest.approx(found.metrics["utility"].value - found.frozen["utility"].value)
    assert found.gain.value < 0
    assert found.loss is None, "the version that is judged answered none of it"


def test_a_first_version_that_misses_a_column_is_not_scored(world: World, thresholds: Thresholds) -> None:
    logged, _ = world.logged(2)
    frame = logged.frame.assign(version="another").drop(columns="features.road_speed")
    found = judged(world, LoggedWindow(logged.window, frame, 0, 0, ()), thresholds, first_version(world))
    assert found.frozen == {} and found.gain is None
    assert "road_speed is not in the log" in found.frozen_reason


def weeks(*losses: float) -> tuple[WeekLoss, ...]:
    return tuple(WeekLoss(start="2024-01-01T00:00:00+00:00", rows=300, log_loss=loss) for loss in losses)


def test_degradation_fires_above_its_limit_and_is_silent_below(thresholds: Thresholds) -> None:
    known = thresholds.model_copy(update={"evaluated": weeks(*(0.40, 0.41, 0.39, 0.40, 0.42, 0.38, 0.40, 0.41))})
    quiet = judged_loss(0.42, known, [])
    assert quiet.limit is not None and not quiet.degraded
    degraded = judged_loss(quiet.limit + 0.001, known, [])
    assert degraded.degraded and "above the limit" in degraded.sentence
    assert degraded.basis == "since the champion's evaluation began"
    assert "no false alarm rate is claimed" not in degraded.sentence


def test_degradation_names_the_weeks_that_it_rests_on(thresholds: Thresholds) -> None:
    few = thresholds.model_copy(update={"evaluated": weeks(0.4, 0.41), "out_of_fold": weeks(0.5, 0.52, 0.51)})
    by_training = judged_loss(0.5, few, [])
    assert (by_training.basis, by_training.blocks) == ("out-of-fold weeks of its training", 3)
    assert "no false alarm rate is claimed" in by_training.sentence
    by_windows = judged_loss(0.5, few, [0.4, 0.42, 0.41, 0.4, 0.39, 0.4])
    assert (by_windows.basis, by_windows.blocks) == ("since the champion's evaluation began", 8)
    assert by_windows.degraded
    nothing = judged_loss(0.5, few.model_copy(update={"out_of_fold": ()}), [])
    assert (nothing.limit, nothing.degraded) == (None, False)
    assert judged_loss(9.9, None, []).limit is None


def test_a_week_that_is_worse_than_the_baseline_is_never_within_the_limit(thresholds: Thresholds) -> None:
    wide = thresholds.model_copy(update={"evaluated": weeks(*[0.2, 0.9] * 6)})
    quiet = judged_loss(0.6, wide, [], baseline=0.61)
    assert not quiet.degraded and "within the limit" in quiet.sentence and quiet.baseline == 0.61
    worse = judged_loss(0.6, wide, [], baseline=0.59)
    assert worse.limit is not None and worse.value < worse.limit
    assert worse.degraded and "within" not in worse.sentence
    assert "The baseline, the constant rate of the training, is better on the same predictions: 0.5900." in worse.sentence
    blind = judged_loss(0.6, None, [], baseline=0.59)
    assert blind.limit is None and blind.degraded and "there is no limit for it" in blind.sentence


def test_broken_and_degraded_weeks_do_not_raise_the_limit(world: World) -> None:
    kept = [made_record(world, number, 0.4 + number / 100) for number in range(4)]
    quiet = earlier_losses(kept, world.digest)
    assert list(quiet.values()) == pytest.approx([0.4, 0.41, 0.42, 0.43])
    broken = [made_record(world, number, 3.0, is_broken=True) for number in (4, 5)]
    degraded = [made_record(world, 6, 2.5, is_degraded=True)]
    assert earlier_losses([*kept, *broken, *degraded], world.digest) == quiet


def made_record(world: World, number: int, value: float, *, is_broken: bool = False, is_degraded: bool = False) -> WindowRecord:
    window = world.window(number)
    check = Check(name="nulls", subject="weight", value=0.9, limit=0.1, failed=True, sentence="Nulls.")
    measurement = Measurement(
        rows=400,
        versions={world.digest: 400},
        lost=0,
        damaged=(),
        repeated=0,
        champion=world.digest,
        blocks=13,
        columns=(),
        checks=(check,) if is_broken else (),
    )
    loss = Loss(value=value, limit=0.9, blocks=8, basis=OUT_OF_FOLD, degraded=is_degraded, sentence="")
    labels = Labels(matured_at=window.end, arrived=400, missing=0)
    performance = Performance(labels=labels, label_rate=0.2, loss=loss)
    return WindowRecord(
        model=NAME, start=window.start, end=window.end, measured_at=window.end, measurement=measurement, performance=performance
    )


def test_labels_turned_round_degrade(world: World, thresholds: Thresholds, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    path = changed.settings.source("arrivals")
    labels = pd.read_parquet(path)
    labels.assign(late=~labels["late"]).to_parquet(path, index=False, coerce_timestamps="us")
    found = judged(changed, changed.logged(2)[0], thresholds)
    assert found.loss is not None and found.loss.degraded
    assert [criterion.met for criterion in found.criteria] == [False]


def test_without_a_source_of_labels_it_is_said(world: World, tmp_path: Path) -> None:
    changed = world.at(tmp_path)
    Path(changed.settings.source("arrivals")).unlink()
    measured, _ = measure_due(changed.settings, changed.model, END + 2 * WEEK)
    with pytest.raises(NotFoundError, match=r"arrivals\.parquet: no such file; write the source there"):
        perform_due(changed.settings, changed.model, END + 2 * WEEK, measured)
