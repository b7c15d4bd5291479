"""A segment is read up to its damage, whatever the damage is, and what a dead process left is finished without losing a byte."""

import dataclasses
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from perennial.errors import NotFoundError
from perennial.prediction_log import LogRow, LogWriter, read_segment, seal_left
from perennial.prediction_log.segment import HEADER_BYTES, name_of, parse_header, records

ROWS = 6


def row_of(number: int) -> LogRow:
    return LogRow(
        prediction_id=f"p{number}",
        time=1364774400.25 + number,
        version="f" * 64,
        keys={"shop_code": "Sé1", "customer_id": 2**53 + number},
        fields={"amount": 12.5, "first": True, "note": None},
        features={"pair_orders": number, "pair_spend": float("nan"), "account_country": "DE"},
        observed_at={"pair": 1364770800.0, "account": None},
        stale={"account": "missing"},
        probability=0.125,
        decision=False,
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A sealed segment of ROWS rows in batches of three."""
    with LogWriter(tmp_path / "log", lambda: 1364774400.0) as writer:
        for batch in range(0, ROWS, 3):
            assert writer.append([row_of(number) for number in range(batch, batch + 3)]) == 0
    (path,) = (tmp_path / "log").iterdir()
    return path


def offsets(data: bytes) -> list[int]:
    return [record.offset for record in records(data)]


def test_rows_come_back_as_they_were_written_a_missing_number_as_null(written: Path) -> None:
    segment = read_segment(written)
    expected = dataclasses.replace(row_of(5), features={"pair_orders": 5, "pair_spend": None, "account_country": "DE"})
    assert segment.rows[5] == expected
    assert segment.sequences == tuple(range(ROWS))
    assert (segment.damage, segment.next_sequence, segment.first_sequence, segment.opened) == (None, ROWS, 0, 1364774400.0)
    assert segment.seal is not None
    assert (segment.seal.rows, segment.seal.by) == (ROWS, "writer")
    assert written.name == f"{name_of(segment.boot_id, 0)}.log"


def test_numpy_values_are_written_as_plain_numbers(tmp_path: Path) -> None:
    row = dataclasses.replace(row_of(0), features={"a": np.float64(0.5)}, probability=np.float64(0.25))
    with LogWriter(tmp_path, lambda: 0.0) as writer:
        assert writer.append([row]) == 0
    (path,) = tmp_path.iterdir()
    assert read_segment(path).rows[0].features == {"a": 0.5}


def test_a_segment_cut_off_at_any_byte_is_read_up_to_there_and_says_so(written: Path) -> None:
    data = written.read_bytes()
    ends = [*offsets(data)[1:], len(data)]
    for size in range(0, len(data), 3):
        written.write_bytes(data[:size])
        segment = read_segment(written)
        assert len(segment.rows) == min(sum(end <= size for end in ends), ROWS)
        assert segment.damage is not None
        assert f"{len(segment.rows)} rows before it were read" in segment.damage
        assert segment.seal is None


def test_one_changed_byte_anywhere_is_noticed_and_never_makes_another_row(written: Path) -> None:
    data = written.read_bytes()
    right = read_segment(written).rows
    starts = offsets(data)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 0xFF
        written.write_bytes(changed)
        segment = read_segment(written)
        assert segment.damage is not None, place
        intact = sum(start <= place for start in starts) - 1 if place >= HEADER_BYTES else 0
        assert segment.rows == right[:intact], place


def test_a_missing_a_repeated_and_an_appended_record_are_noticed(written: Path) -> None:
    data = written.read_bytes()
    second, third, *_ = offsets(data)[1:]
    for changed, said in (
        (data[:second] + data[third:], "the seal is of 6 other rows; found 5"),
        (data[:third] + data[second:third] + data[third:], "the seal is of 6 other rows; found 7"),
        (data + b"x", "1 bytes follow the seal"),
    ):
        written.write_bytes(changed)
        assert said in str(read_segment(written).damage)


def test_a_damaged_header_leaves_what_the_name_says(written: Path) -> None:
    boot_id = written.name[:16]
    written.write_bytes(b"\0" * 200)
    segment = read_segment(written)
    assert (segment.boot_id, segment.first_sequence, segment.rows, segment.opened) == (boot_id, 0, (), None)
    assert (
        segment.damage
        == "byte 0: found b'\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00', a segment begins with b'PRNLOG\\r\\n'; "
        + ("0 rows before it were read")
    )
    with pytest.raises(NotFoundError):
        read_segment(written.with_name("other.log"))


def test_the_end_of_a_segment_that_is_being_written_is_no_damage(written: Path) -> None:
    data = written.read_bytes()
    being_written = written.rename(written.with_suffix(".open"))
    for size in range(0, len(data), 7):
        being_written.write_bytes(data[:size])
        assert read_segment(being_written).damage is None


def test_what_a_dead_process_left_is_sealed_and_a_torn_end_is_kept_and_reported(written: Path, tmp_path: Path) -> None:
    data = written.read_bytes()
    starts = offsets(data)
    written.unlink()
    boot_id = parse_header(data)[0]
    cases = {
        "whole": (data[: starts[-1]], None, "restart"),  # killed between two rows
        "sealed": (data, None, "writer"),  # killed between seal and new name
        "torn": (data[: starts[-1] - 5], "cut off, or damaged", None),  # killed within a write
        "flipped": (data[:200] + b"\0\0\0" + data[203 : starts[-1]], "checksum does not fit", None),
    }
    for (name, (content, damage, by)), number in zip(cases.items(), itertools.count(), strict=False):
        left = tmp_path / name / f"{name_of(boot_id, number)}.open"
        left.parent.mkdir()
        left.write_bytes(content)
        (done,) = seal_left(left.parent, 99.0)
        segment = read_segment(done)
        assert done.suffix == ".log"
        assert done.read_bytes().startswith(content)
        assert (segment.damage is None) == (damage is None)
        assert damage is None or damage in str(segment.damage)
        assert (segment.seal.by if segment.seal else None) == by
        assert segment.next_sequence == {"torn": 5, "flipped": 0}.get(name, 6)
        assert seal_left(left.parent, 99.0) == ()


def test_an_empty_file_of_a_dead_process_goes_and_a_missing_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / f"{name_of('00' * 8, 0)}.open").touch()
    assert seal_left(tmp_path, 0.0) == ()
    assert list(tmp_path.iterdir()) == []
    assert seal_left(tmp_path / "none", 0.0) == ()
    (tmp_path / "file").touch()
    assert seal_left(tmp_path / "file" / "below", 0.0) == ()


def test_the_segment_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with LogWriter(tmp_path, lambda: 0.0) as writer:
        writer.append([row_of(0)])
        assert seal_left(tmp_path, 1.0) == ()
        LogWriter(tmp_path, lambda: 0.0).close()
        assert [path.suffix for path in tmp_path.iterdir()] == [".open"]
        assert writer.append([row_of(1)]) == 0
    (path,) = tmp_path.iterdir()
    assert len(read_segment(path).rows) == 2


def test_the_log_can_be_written_without_numpy_pandas_and_pyarrow() -> None:
    code = "import sys, perennial.prediction_log; print({'numpy', 'pandas', 'pyarrow', 'pydantic'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "set()"
