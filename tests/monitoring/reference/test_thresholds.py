"""Thresholds of a version: whole weekly blocks, the same for the same seed, and no rate claimed where there are too few."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from monitoring.checks import check_column
from monitoring.drift import Reference, measure
from monitoring.reference.blocks import PROBABILITY, START, block_rows, blocks_of
from monitoring.reference.limits import rate_per_test
from monitoring.reference.thresholds import column_limits, column_threshold, make_thresholds
from perennial.data.dataset import Dataset
from perennial.spec.model import Model
from perennial.versions.thresholds import Thresholds
from tests.monitoring.world import COLUMNS, END, World, make_world, model, requests_of

pytestmark = pytest.mark.xdist_group("watched model")


def with_monitoring(**changed: Any) -> Model:
    found = model()
    spec = found.spec.model_copy(update={"monitoring": found.spec.monitoring.model_copy(update=changed)})
    return found.model_copy(update={"spec": spec})


def made(world: World, spec: Model | None = None) -> tuple[Thresholds, pd.DataFrame]:
    return make_thresholds(Dataset(world.frame, world.info), spec or world.model, world.trained, world.contract)


def test_every_watched_column_has_a_limit_from_whole_weeks(world: World) -> None:
    thresholds, blocks = made(world)
    assert (thresholds.blocks, thresholds.block_days, thresholds.block_rows) == (14, 7, 300)
    assert [column.column for column in thresholds.columns] == [column.name for column in world.model.spec.monitoring.columns]
    assert all(column.limit is not None and column.limit > 0 and not column.reason for column in thresholds.columns)
    assert thresholds.rate_per_test == rate_per_test(0.25, 7, 6)
    assert {column.column: column.standard_deviation is None for column in thresholds.columns}["road_kind"]
    assert blocks.groupby(START).size().tolist() == [300] * 14
    assert blocks[START].max() == pd.Timestamp(END - timedelta(days=7))


def test_probability_has_blocks_of_rows_that_its_models_had_not_seen(world: World) -> None:
    thresholds, blocks = made(world)
    with_it = blocks[blocks[PROBABILITY].notna()].groupby(START).size()
    assert len(with_it) == len(thresholds.out_of_fold) + len(thresholds.evaluated)
    assert len(thresholds.evaluated) == 4
    assert 0.2 < min(week.log_loss for week in thresholds.evaluated) < 0.7
    assert with_it.index.min() > blocks[START].min(), "the first weeks were only trained on"


def test_limits_of_values_are_those_of_the_training(world: World) -> None:
    by_name = {limit.column: limit for limit in made(world)[0].limits}
    assert set(by_name) == {column.name for column in COLUMNS}
    assert by_name["road_kind"].categories == ("city", "land", "motorway")
    assert by_name["weight"].low == world.frame["weight"].min()
    assert by_name["weight"].max_null_share == pytest.approx(0.1)


def test_the_same_training_gives_the_same_thresholds(world: World) -> None:
    one, two = made(world), made(world)
    assert one[0] == two[0]
    pd.testing.assert_frame_equal(one[1], two[1])


def test_too_few_blocks_claim_no_rate(world: World) -> None:
    thresholds, blocks = made(world, with_monitoring(block_rows=10_000))
    assert thresholds.blocks == 0 and not len(blocks)
    assert all(column.limit is None for column in thresholds.columns)
    assert "with fewer than 8 no false alarm rate can be claimed" in thresholds.columns[0].reason
    assert thresholds.limits, "what data may look like is known all the same"


def test_a_method_that_does_not_suit_ends_no_training(world: World) -> None:
    watched = tuple(
        column.model_copy(update={"method": "mean"}) if column.name == "road_kind" else column
        for column in world.model.spec.monitoring.columns
    )
    gone = watched[0].model_copy(update={"name": "gone"})
    thresholds, _ = made(world, with_monitoring(columns=(*watched, gone)))
    by_name = {column.column: column for column in thresholds.columns}
    assert "mean compares numbers" in by_name["road_kind"].reason
    assert by_name["gone"].limit is None
    assert by_name["weight"].limit is not None


def test_blocks_are_counted_back_from_the_end_and_small_ones_left_out() -> None:
    time = np.datetime64("2024-04-08", "us") - np.arange(1, 31) * np.timedelta64(1, "D")
    found = blocks_of(time, END, 7, 7, 0)
    assert [start.day for start in found] == [11, 18, 25, 1]
    assert [len(rows) for rows in found.values()] == [7] * 4


def test_a_column_with_empty_weeks_counts_those_with_values() -> None:
    empty, full = np.full(50, np.nan), np.arange(50.0)
    assert column_threshold("a", "mean", [empty, *[full] * 7], 0.01).limit is None
    assert column_threshold("a", "mean", [empty, *[full] * 8], 0.01).limit is not None


def test_a_column_without_spread_has_no_range_and_no_list(world: World) -> None:
    constant = world.frame.assign(weight=0.003467, road_kind="city")
    limits = {
        limit.column: limit for limit in column_limits(Dataset(constant, world.info), world.model.spec.monitoring, world.contract)
    }
    assert (limits["weight"].low, limits["weight"].high, limits["road_kind"].categories) == (None, None, None)
    assert limits["road_speed"].low is not None and limits["road_speed"].high is not None
    came_to_life = np.array([0.0, 5.0, 70.0])
    assert check_column("weight", came_to_life, limits["weight"], True) == []
    assert check_column("road_kind", np.array(["land"], dtype=object), limits["road_kind"], True) == []
    assert [found.name for found in check_column("road_speed", np.full(9, 1e9), limits["road_speed"], True)] == ["range"]


@pytest.mark.parametrize(
    ("per_week", "expected"), [(7000, 1000), (1250, 1000), (1000, 800), (336, 268), (70, 56), (60, 50), (10, 50), (0, 50)]
)
def test_a_block_has_the_rows_that_the_traffic_allows(per_week: int, expected: int) -> None:
    start = END - 14 * timedelta(weeks=1)
    apart = np.timedelta64(7 * 86_400_000_000 // max(per_week, 1), "us")
    time = np.datetime64(start.replace(tzinfo=None), "us") + np.arange(14 * per_week) * apart
    spec = with_monitoring(block_rows=None).spec.monitoring
    assert block_rows(time, start, END, spec) == pytest.approx(expected, abs=2)
    assert block_rows(time, start, END, with_monitoring(block_rows=300).spec.monitoring) == 300


def test_336_requests_a_week_are_judged_by_default(tmp_path: Path) -> None:
    thin = make_world(tmp_path / "thin", with_monitoring(block_rows=None), per_day=48)
    found, _ = made(thin, thin.model)
    assert 200 <= found.block_rows <= 280 and found.blocks == 14
    by_name = {column.column: column for column in found.columns}
    assert {name: column.reason for name, column in by_name.items() if column.limit is None and name != PROBABILITY} == {}
    requests = requests_of(END, 14, 2, 48)
    thin.answer(requests)
    logged, before = thin.logged(1)
    reference = Reference(thin.digest, thin.contract, found, made(thin, thin.model)[1])
    columns = {column.column: column.verdict for column in measure(logged, before, reference, thin.model, {}).columns}
    assert columns["weight"] == columns["road_speed"] == "quiet"
    blind, _ = made(thin, with_monitoring(block_rows=1000))
    assert blind.blocks == 0 and len(blind.unjudged) == len(blind.columns) + 1, "every column, and the loss"
    assert all("never alarms: 0 windows of the training had values enough" in said for said in blind.unjudged[:-1])
