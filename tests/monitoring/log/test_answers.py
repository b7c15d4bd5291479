"""A champion that cannot be scored on new rows is compared by what it answered to them when it served."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from monitoring.log.answers import answers_of
from perennial.data.dataset import Dataset, DatasetInfo, values_digest
from perennial.lifecycle.candidate import TrainedCandidate, train_candidate
from perennial.lifecycle.judgement import judge_candidate
from perennial.spec.columns import Column
from perennial.training.side_by_side import Power
from perennial.versions.findings import Judgement
from tests.monitoring.world import COLUMNS, END, NAME, World, log_rows, make_world, requests_of, write_log

LATER = END + timedelta(days=42)
BEYOND = 2**60
"""Added to ids, which then no float tells apart."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, pd.DataFrame]:
    """A version that answered six weeks of requests, and these: each twice, the second time by another version."""
    world = make_world(tmp_path_factory.mktemp("answers"))
    requests = requests_of(END, 42, 2)
    requests["parcel_id"] = range(BEYOND, BEYOND + len(requests))
    rows = log_rows(world, requests, world.digest)
    again = [replace(row, prediction_id=f"{row.prediction_id}-2", time=row.time + 1, probability=0.999) for row in rows]
    foreign = [replace(row, prediction_id=f"{row.prediction_id}-3", time=row.time - 1, version="f" * 64) for row in again]
    write_log(world.settings.prediction_log(NAME), [*rows, *again, *foreign])
    return world, requests


def changed(world: World, requests: pd.DataFrame) -> tuple[pd.DataFrame, DatasetInfo, TrainedCandidate]:
    """A dataset that has `road_speed` under another name, and a candidate of it."""
    later = requests.rename(columns={"late": "label"}).assign(label_known_at=requests["event_timestamp"] + pd.Timedelta(hours=10))
    frame = pd.concat([world.frame, later.astype({"label": "boolean"})], ignore_index=True)
    frame = frame.rename(columns={"road_speed": "road_pace"})
    info = world.info.model_copy(
        update={
            "digest": values_digest(frame),
            "columns": (Column(name="road_pace", dtype="float", view="road"), *COLUMNS[1:]),
            "now": (LATER + timedelta(days=2)).isoformat(),
            "evaluation_start": (LATER - timedelta(days=28)).isoformat(),
            "end": LATER.isoformat(),
            "rows": len(frame),
            "labelled": len(frame),
        }
    )
    return frame, info, train_candidate(Dataset(frame, info), world.model, "", Power(), lambda _: None)


def judged(world: World, requests: pd.DataFrame) -> Judgement:
    frame, info, trained = changed(world, requests)
    answers = partial(answers_of, world.settings, world.model, world.digest)
    return judge_candidate(Dataset(frame, info), world.model, trained, world.settings, world.digest, answers)


def test_the_first_answers_of_the_version_are_found_by_whole_ids(served: tuple[World, pd.DataFrame]) -> None:
    world, requests = served
    _, info, _ = changed(world, requests)
    found = answers_of(world.settings, world.model, world.digest, info)
    block = requests[requests["event_timestamp"] >= pd.Timestamp(info.evaluation_start)]
    expected = [row.probability for row in log_rows(world, block, world.digest)]
    assert [found[one] for one in block["parcel_id"].tolist()] == pytest.approx(expected, abs=1e-12)
    assert len(set(found.values())) > len(block) / 2 and 0.999 not in found.values()


def test_a_champion_without_its_column_is_compared_by_its_answers(served: tuple[World, pd.DataFrame]) -> None:
    world, requests = served
    found = judged(world, requests)
    assert found.comparison is not None and found.no_comparison == ""
    rows = int((requests["event_timestamp"] >= pd.Timestamp(LATER - timedelta(days=28))).sum())
    assert f"what the champion answered to the same {rows:,} labelled requests of 28 days" in found.comparison.basis
    # Both saw the same column under two names: neither is much better.
    assert found.comparison.auc_difference is not None and abs(found.comparison.auc_difference.value) < 0.02


def test_a_champion_that_answered_on_too_few_days_is_replaced_by_a_person_only(
    served: tuple[World, pd.DataFrame], tmp_path: Path
) -> None:
    _, requests = served
    silent = make_world(tmp_path)
    first = requests[requests["event_timestamp"] >= pd.Timestamp(LATER - timedelta(days=3))]
    write_log(silent.settings.prediction_log(NAME), log_rows(silent, first, silent.digest))
    found = judged(silent, requests)
    assert found.comparison is None
    assert "no column road_speed" in found.no_comparison and "cover 3 of the" in found.no_comparison
    assert f"perennial train {NAME} --replace --reason" in found.no_comparison
