"""A dataset is named by its values: the digest sees every change of a value, and nothing else."""

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from perennial.data.dataset import DATA, INFO, Dataset, DatasetInfo, copy, keep, load, store, values_digest
from perennial.errors import DataError, NotFoundError, PerennialError, PlatformError
from perennial.settings import Settings
from perennial.spec.columns import Column
from perennial.stores.bucket import Bucket
from tests.servers.s3 import S3


def frame() -> pd.DataFrame:
    times = pd.Series([pd.Timestamp("2024-01-01T00:00:00.000001Z"), pd.Timestamp("2024-01-02T00:00Z"), pd.NaT])
    return pd.DataFrame(
        {
            "id": np.arange(3),
            "event_timestamp": times.dt.as_unit("us"),
            "number": [0.5, np.nan, 0.0],
            "text": pd.Series(["é", None, ""], dtype=object),
            "label": pd.array([True, None, False], dtype="boolean"),
        }
    )


def info_of(values: pd.DataFrame, **changes: object) -> DatasetInfo:
    said = {
        "digest": values_digest(values),
        "model": "m",
        "id_column": "id",
        "join_keys": ("k",),
        "columns": (Column(name="number", dtype="float", view="v"),),
        "service": "s",
        "service_digest": "0" * 64,
        "definitions_digest": "1" * 64,
        "now": "2024-01-03T00:00:00+00:00",
        "start": "2024-01-01T00:00:00+00:00",
        "evaluation_start": "2024-01-02T00:00:00+00:00",
        "end": "2024-01-03T00:00:00+00:00",
        "rows": 3,
        "labelled": 2,
        "rejected": 0,
        "views": (),
    }
    return DatasetInfo.model_validate({**said, **changes})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda found: found.assign(number=[0.5, np.nan, 1e-300]), id="a number"),
        pytest.param(lambda found: found.assign(number=[0.5, 0.0, 0.0]), id="a missing number became zero"),
        pytest.param(lambda found: found.assign(text=pd.Series(["é", "", ""], dtype=object)), id="a missing text became empty"),
        pytest.param(lambda found: found.assign(text=pd.Series(["", None, "é"], dtype=object)), id="texts changed places"),
        pytest.param(lambda found: found.assign(label=pd.array([True, False, False], dtype="boolean")), id="a label"),
        pytest.param(
            lambda found: found.assign(event_timestamp=found["event_timestamp"] + pd.Timedelta(microseconds=1)), id="time"
        ),
        pytest.param(lambda found: found.rename(columns={"number": "numbers"}), id="a name"),
        pytest.param(lambda found: found.astype({"id": "float64"}), id="a type"),
        pytest.param(lambda found: found[found.columns[::-1]], id="the order of columns"),
        pytest.param(lambda found: found.iloc[::-1], id="the order of rows"),
        pytest.param(lambda found: found.head(2), id="a row less"),
    ],
)
def test_the_digest_sees_every_change(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert values_digest(change(frame())) != values_digest(frame())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda found: found.copy(), id="a copy"),
        pytest.param(lambda found: found.set_index(pd.Index([7, 8, 9])), id="the index"),
        pytest.param(lambda found: found.assign(number=[0.5, None, -0.0]), id="the sign of zero"),
        pytest.param(
            lambda found: found.assign(event_timestamp=found["event_timestamp"].dt.as_unit("ns")), id="the unit of time"
        ),
        pytest.param(
            lambda found: found.assign(event_timestamp=found["event_timestamp"].dt.tz_convert("Asia/Tokyo")), id="the zone"
        ),
        pytest.param(lambda found: found.assign(text=pd.Series(["é", np.nan, ""], dtype=object)), id="how missing is written"),
    ],
)
def test_the_digest_sees_nothing_else(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert values_digest(change(frame())) == values_digest(frame())


def test_a_column_of_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="column 'x' holds 3 "):
        values_digest(pd.DataFrame({"x": pd.Series(["a", 3], dtype=object)}))
    with pytest.raises(DataError, match="column 'x' is category; allowed"):
        values_digest(pd.DataFrame({"x": pd.Categorical(["a"])}))


def test_a_stored_dataset_comes_back_with_its_types(tmp_path: Path) -> None:
    info = info_of(frame())
    path = store(Dataset(frame(), info), tmp_path)
    assert path == tmp_path / info.digest
    found, said = load(path)
    pd.testing.assert_frame_equal(found, frame())
    assert said == info
    assert sorted(path.name for path in tmp_path.iterdir()) == [info.digest]


def test_values_are_written_once_and_what_is_said_of_them_anew(tmp_path: Path) -> None:
    path = store(Dataset(frame(), info_of(frame())), tmp_path)
    before = (path / DATA).stat().st_mtime_ns
    later = info_of(frame(), now="2024-01-04T00:00:00+00:00")
    assert store(Dataset(frame(), later), tmp_path) == path
    assert (path / DATA).stat().st_mtime_ns == before
    assert load(path)[1] == later
    assert sorted(found.name for found in path.iterdir()) == [DATA, INFO]


def test_a_description_of_an_older_release_is_read(tmp_path: Path) -> None:
    path = store(Dataset(frame(), info_of(frame(), excluded=7)), tmp_path)
    text = (path / INFO).read_text(encoding="utf-8")
    assert '"excluded": 7' in text
    (path / INFO).write_text(text.replace('"excluded"', '"barred"'), encoding="utf-8")
    assert load(path)[1].excluded == 7


def test_a_description_of_other_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="its values have digest"):
        store(Dataset(frame().head(2), info_of(frame())), tmp_path)


def test_changed_values_are_noticed(tmp_path: Path) -> None:
    path = store(Dataset(frame(), info_of(frame())), tmp_path)
    frame().assign(number=[9.0, 9.0, 9.0]).to_parquet(path / DATA, index=False)
    with pytest.raises(DataError, match="it was changed; build the dataset again"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"not parquet"])
def test_a_broken_file_is_noticed(tmp_path: Path, content: bytes) -> None:
    path = store(Dataset(frame(), info_of(frame())), tmp_path)
    (path / DATA).write_bytes(content)
    with pytest.raises(DataError, match="not a Parquet file"):
        load(path)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EIO, "Input/output error"), PlatformError),
        (PermissionError(errno.EACCES, "Permission denied"), PlatformError),
        (OSError("Couldn't deserialize thrift"), DataError),
    ],
    ids=repr,
)
def test_a_disk_that_cannot_be_read_is_no_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[PerennialError]
) -> None:
    path = store(Dataset(frame(), info_of(frame())), tmp_path)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(pd, "read_parquet", fail)
    with pytest.raises(kind, match=DATA):
        load(path)


def test_a_missing_dataset_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=INFO):
        load(tmp_path / "nothing")
    path = store(Dataset(frame(), info_of(frame())), tmp_path)
    (path / DATA).unlink()
    with pytest.raises(NotFoundError, match=DATA):
        load(path)


def test_a_copy_is_a_dataset_too(tmp_path: Path) -> None:
    path = store(Dataset(frame(), info_of(frame())), tmp_path)
    copy(path, tmp_path / "artifact" / "dataset")
    assert load(tmp_path / "artifact" / "dataset")[1] == load(path)[1]


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PlatformError, match="the folder of datasets must be writable"):
        store(Dataset(frame(), info_of(frame())), tmp_path / "file" / "datasets")


def test_a_dataset_is_kept_in_the_bucket_too(tmp_path: Path, s3: S3) -> None:
    places = {"PERENNIAL_PROJECT": str(tmp_path), "PERENNIAL_BUCKET": s3.bucket()}
    settings, info = Settings.from_environment(places), info_of(frame())
    for said in (info, info_of(frame(), now="2024-01-04T00:00:00+00:00")):
        assert keep(settings, Dataset(frame(), said)) == settings.datasets / info.digest
        bucket = Bucket(places["PERENNIAL_BUCKET"])
        assert bucket.keys("") == [f"datasets/{info.digest}/{name}" for name in (DATA, INFO)]
        fetched = tmp_path / said.now / info.digest
        bucket.fetch_folder(f"datasets/{info.digest}", fetched, load)
        found, description = load(fetched)
        pd.testing.assert_frame_equal(found, frame())
        assert description == said


def test_without_a_bucket_a_dataset_is_kept_in_the_state(tmp_path: Path) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path)})
    assert load(keep(settings, Dataset(frame(), info_of(frame()))))[1] == info_of(frame())
