"""Sealed segments become tables once; damaged ones up to their damage; what is missing is counted by process and sequence."""

import errno
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest

from monitoring.log import tables
from monitoring.log.collect import Collected, collect, inventory, load
from monitoring.log.inventory import ProcessEnd, gaps
from monitoring.windows import as_values
from perennial.errors import DataError, PerennialError, PlatformError, UnexpectedError
from perennial.prediction_log import LogRow, LogWriter, Segment

NOW = datetime(2013, 4, 1, tzinfo=UTC)


def row_of(number: int, version: str = "a", **features: float | str | bool | None) -> LogRow:
    return LogRow(
        prediction_id=f"p{number}",
        time=NOW.timestamp() + number * 60 + 0.000001,
        version=version,
        keys={"shop_code": "S1", "customer_id": 2**53 + number},
        fields={"amount": 2.5},
        features=features or {"orders": number, "spend": 0.5},
        observed_at={"pair": NOW.timestamp(), "account": None},
        stale={"account": "missing"} if number % 2 else {},
        probability=0.25,
        decision=False,
    )


def write(log: Path, sizes: list[int]) -> LogWriter:
    """One segment for each size."""
    writer = LogWriter(log, lambda: 0.0)
    number = 0
    for size in sizes:
        writer.append([row_of(place) for place in range(number, number + size)])
        writer.seal()
        number += size
    return writer


def run(folder: Path) -> Collected:
    return collect(folder / "log", folder / "tables", NOW)


def test_sealed_segments_become_tables_once_and_open_ones_wait(tmp_path: Path) -> None:
    writer = write(tmp_path / "log", [5, 7])
    writer.append([row_of(12)])
    first = run(tmp_path)
    assert (first.new, first.rows, first.damaged, first.gaps, first.lost) == (2, 12, (), (), 0)
    assert run(tmp_path).new == 0
    writer.close()
    assert run(tmp_path).new == 1
    frame = load(tmp_path / "tables")
    assert frame["prediction_id"].tolist() == [f"p{number}" for number in range(13)]
    assert frame["keys.customer_id"].tolist() == [2**53 + number for number in range(13)]
    assert frame["features.orders"].tolist() == list(range(13))
    assert frame["time"].iloc[1] == pd.Timestamp(NOW + timedelta(seconds=60, microseconds=1))
    assert (frame["observed_at.pair"] == pd.Timestamp(NOW)).all()
    assert frame["observed_at.account"].isna().all()
    assert frame["stale.account"].tolist()[:3] == [None, "missing", None]
    assert frame["decision"].tolist() == [False] * 13


def test_a_time_is_read_alone(tmp_path: Path) -> None:
    write(tmp_path / "log", [5, 5])
    run(tmp_path)
    cut = load(tmp_path / "tables", NOW + timedelta(minutes=3), NOW + timedelta(minutes=6, microseconds=1))
    assert cut["prediction_id"].tolist() == ["p3", "p4", "p5"]
    assert load(tmp_path / "tables", end=NOW).empty
    assert list(load(tmp_path / "none").columns)[:4] == ["prediction_id", "boot_id", "sequence", "time"]


def test_rows_of_versions_with_other_columns_stand_in_one_table(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        writer.append([row_of(0, a=None), row_of(1, "b", a=1.5, b="x")])
        writer.seal()
        writer.append([row_of(2, "b", a=2)])
    run(tmp_path)
    frame = load(tmp_path / "tables")
    assert frame["features.a"].fillna(-1).tolist() == [-1, 1.5, 2]
    assert frame["features.b"].tolist() == [None, "x", None]


def test_a_damaged_segment_gives_its_rows_up_to_the_damage_and_the_rest_is_a_gap(tmp_path: Path) -> None:
    write(tmp_path / "log", [10, 10, 10])
    _, second, third = sorted((tmp_path / "log").iterdir())
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(data)
    third.write_bytes(third.read_bytes()[:900])
    found = run(tmp_path)
    assert [segment.name for segment in found.damaged] == [second.stem, third.stem]
    assert all("rows before it were read" in str(segment.damage) for segment in found.damaged)
    read = [segment.rows for segment in found.segments]
    assert read[0] == 10
    assert 0 < read[1] < 10
    (gap,) = found.gaps  # what the third lost is not known: its seal is gone
    assert (gap.first, gap.end) == (10 + read[1], 20)
    assert len(load(tmp_path / "tables")) == sum(read)
    second.unlink()
    assert run(tmp_path) == found.model_copy(update={"new": 0})


def test_what_is_missing_is_counted_by_process_and_sequence(tmp_path: Path) -> None:
    unwritable = LogRow("bad", 0.0, "v", {"k": 2**70}, {}, {}, {}, {}, None, None)
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        writer.append([unwritable, row_of(0), unwritable, unwritable, row_of(1)])
        writer.seal()
        writer.append([row_of(2)])
        writer.seal()
        writer.append([row_of(3)])
        writer.append([unwritable])
    assert run(tmp_path).lost == writer.lost == 4
    assert [(gap.first, gap.end) for gap in run(tmp_path).gaps] == [(0, 1), (2, 4), (7, 8)]
    sequences = load(tmp_path / "tables")["sequence"].tolist()
    assert sequences == [1, 4, 5, 6]
    found = gaps(info for info in inventory(tmp_path / "tables") if info.first_sequence != 5)
    assert [(gap.first, gap.end) for gap in found] == [(0, 1), (2, 4), (5, 6), (7, 8)]


def test_what_dead_processes_left_open_is_collected_too(tmp_path: Path) -> None:
    writer = write(tmp_path / "log", [3])
    (sealed,) = (tmp_path / "log").iterdir()
    sealed.rename(sealed.with_suffix(".open"))  # as if it had been killed between seal and new name
    writer.append([row_of(3)])  # and this one lives
    assert run(tmp_path).rows == 3


def test_collecting_twice_at_once_gives_each_row_once(tmp_path: Path) -> None:
    write(tmp_path / "log", [20] * 10)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: run(tmp_path), range(4)))
    assert len(load(tmp_path / "tables")) == 200
    assert [path.suffix for path in (tmp_path / "tables").iterdir() if path.name != ".lock"] == [".parquet"]


def test_a_value_of_another_type_becomes_a_text_and_so_do_the_numbers_beside_it(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        writer.append([row_of(0, a=1.5), row_of(1, a="x")])
        writer.seal()
        writer.append([row_of(2, a=2.5)])
    run(tmp_path)
    assert load(tmp_path / "tables", end=NOW + timedelta(minutes=2))["features.a"].tolist() == ["1.5", "x"]
    whole = load(tmp_path / "tables")
    assert whole["features.a"].tolist() == ["1.5", "x", "2.5"]
    assert as_values(whole["features.a"], is_text=False).tolist()[::2] == [1.5, 2.5]


def test_large_segments_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    keep = tables.keep

    def counted(into: Path, segments: Sequence[Segment]) -> None:
        sizes.append(len(segments))
        keep(into, segments)

    monkeypatch.setattr(tables, "keep", counted)
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        for number, text in enumerate(["", "", "", "x" * 9_000_000, "x" * 9_000_000]):
            writer.append([row_of(number, a=text)])
            writer.seal()
    assert run(tmp_path).rows == 5
    assert sizes == [4, 1], "small ones together, and of the large ones as many as 16 MiB are"


def test_a_foreign_table_among_them_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(DataError, match="not a segment of a prediction log"):
        inventory(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PAR1" + b"\0" * 50, b"PAR1" + b"\1" * 50 + b"\x20\0\0\0PAR1"])
def test_a_broken_table_among_them_is_named_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        writer.append([row_of(0)])
    assert run(tmp_path).rows == 1
    (table,) = (tmp_path / "tables").glob("*.parquet")
    table.write_bytes(content)
    with pytest.raises(DataError, match=rf"{table.name}: not a Parquet file that can be read: .*; move it away"):
        run(tmp_path)
    table.unlink()
    assert run(tmp_path).rows == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), PlatformError),
        (PermissionError(errno.EACCES, "Permission denied"), PlatformError),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), UnexpectedError),
        (OSError("of no system"), UnexpectedError),
    ],
    ids=repr,
)
def test_only_an_outage_may_work_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[PerennialError]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(tables, "keep", fail)
    with LogWriter(tmp_path / "log", lambda: 0.0) as writer:
        writer.append([row_of(0)])
    with pytest.raises(kind) as raised:
        run(tmp_path)
    assert ("the same call may work later" in str(raised.value)) == (kind is PlatformError)


def test_an_end_that_an_earlier_release_kept_as_a_segment_without_rows_is_an_end(tmp_path: Path) -> None:
    stored = {"name": "a-end", "boot_id": "a", "first_sequence": 7, "next_sequence": 7, "rows": 0, "missing": []}
    stored |= {"start": 100.0, "end": 100.0, "sealed_by": "announcement", "digest": "tag", "damage": None}
    table = tables.EMPTY.replace_schema_metadata({tables.INFOS: json.dumps([stored])})
    pyarrow.parquet.write_table(table, tmp_path / "a-end.parquet")
    assert inventory(tmp_path) == (ProcessEnd(boot_id="a", next_sequence=7, time=100.0, tag="tag"),)
    collected = collect(tmp_path / "log", tmp_path, NOW)
    assert (collected.segments, collected.lost, [end.next_sequence for end in collected.vanished]) == ((), 7, [7])


def test_an_end_is_read_as_it_was_kept(tmp_path: Path) -> None:
    end = ProcessEnd(boot_id="a", next_sequence=7, time=100.0, tag="tag")
    tables.keep_end(tmp_path, end)
    assert inventory(tmp_path) == (end,)
    assert load(tmp_path).empty
