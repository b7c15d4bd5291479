"""No request of the future counts as traffic, and traffic that is not known is said; how much is enough: `test_acceptance`."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from console.validation import check_specs
from monitoring.reference.traffic import blindness, rows_by_window
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from tests.made_up import FIRST, NAME, WEEK, settings_in
from tests.second_project import NOW, write_project
from tests.servers.s3 import S3

END = FIRST + 20 * WEEK


@pytest.fixture
def project(tmp_path: Path) -> tuple[Settings, Model]:
    """A model that needs 300 requests a week."""
    settings = settings_in(tmp_path)
    return settings, read(settings.models / f"{NAME}.yaml")


def request(settings: Settings, per_week: int, *more: datetime) -> None:
    """So many requests in each of twenty weeks, and some of these times."""
    path = Path(settings.source("payments"))
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [END - timedelta(seconds=1) - place * WEEK / per_week for place in range(per_week * 20)]
    frame = pd.DataFrame({"event_timestamp": pd.Series([*times, *more], dtype="datetime64[us, UTC]")})
    frame.to_parquet(path, index=False, coerce_timestamps="us")


@pytest.mark.parametrize("odd", [END + timedelta(microseconds=1), datetime(2099, 1, 1, tzinfo=END.tzinfo)])
def test_a_request_of_the_future_is_not_counted(project: tuple[Settings, Model], odd: datetime) -> None:
    for per_week, said in ((400, 0), (100, 1)):
        request(project[0], per_week)
        alone = blindness(*project, END)
        request(project[0], per_week, odd)
        assert blindness(*project, END) == alone and len(alone) == said
    assert rows_by_window(*project, FIRST - timedelta(days=1)) is None


def test_requests_that_cannot_be_read_are_said_and_none_yet_are_not(project: tuple[Settings, Model]) -> None:
    settings, model = project
    assert blindness(settings, model, END) == ()
    path = Path(settings.source("payments"))
    path.parent.mkdir(parents=True)
    path.write_text("not a table")
    (said,) = blindness(settings, model, END)
    assert said.startswith(
        f"not known: whether the traffic is enough for windows of 7 days to be judged: {path}: not a Parquet file"
    )


def test_a_store_that_is_away_is_said(project: tuple[Settings, Model], s3: S3) -> None:
    settings = project[0].model_copy(update={"sources": f"{s3.bucket()}/sources"})
    assert blindness(settings, project[1], END) == ()
    s3.stop()
    (said,) = blindness(settings, project[1], END)
    assert said.startswith("not known: whether the traffic is enough") and "the object store does not answer" in said


def test_notes_are_in_the_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_project(tmp_path / "project", per_day=5)
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(folder)})
    path = folder / "models" / "chargeback.yaml"
    assert check_specs(settings, [], NOW, json=True) == 0
    found = json.loads(capsys.readouterr().out)[str(path)]
    assert found["mistakes"] == [] and found["notes"][0].startswith("one of five windows of 7 days has at most 31 requests")
    assert check_specs(settings, [], NOW, json=False) == 0
    assert f"note: {found['notes'][0]}" in capsys.readouterr().out
    path.write_text(path.read_text().replace("block_rows: 300", "block_rows: many"))
    assert check_specs(settings, [], NOW, json=True) == 2
    found = json.loads(capsys.readouterr().out)[str(path)]
    assert "monitoring.block_rows" in found["mistakes"][0] and found["notes"] == []
