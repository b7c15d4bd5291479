"""Labels that come or change after a window has matured are counted by window, and only those that are known by now."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from console.monitoring import show_labels
from monitoring.labels import LabelCount, label_counts, labels_by, published, too_early, without_label
from monitoring.windows import WindowLog
from perennial.errors import DataError, NotFoundError
from perennial.loop.window import Window
from perennial.prediction_log import LogRow, LogWriter
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.spec.read import read
from tests.made_up import FIRST, NAME, WEEK, settings_in

DUE = FIRST + WEEK + timedelta(hours=72)
"""When the labels of the first window mature."""
HOUR = timedelta(hours=1)


def answer(settings: Settings, times: dict[int | None, datetime]) -> None:
    """Requests with these ids were answered at these times."""
    rows = [
        LogRow(
            prediction_id=f"p{place}",
            time=time.timestamp(),
            version="a" * 64,
            keys={},
            fields={"amount": 1.0} if number is None else {"amount": 1.0, "payment_id": number},
            features={},
            observed_at={},
            stale={},
            probability=0.5,
            decision=False,
        )
        for place, (number, time) in enumerate(times.items())
    ]
    writer = LogWriter(settings.prediction_log(NAME), lambda: 0.0)
    writer.append(rows)
    writer.close()


def publish(settings: Settings, labels: list[tuple[int, datetime, bool]]) -> None:
    Path(settings.sources).mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(labels, columns=["payment_id", "event_timestamp", "charged_back"])
    frame.to_parquet(settings.source("outcomes"), index=False, coerce_timestamps="us")


@pytest.fixture
def served(tmp_path: Path) -> tuple[Settings, Model]:
    """Six requests in the first week, one in the second; one carried no id."""
    settings = settings_in(tmp_path)
    times: dict[int | None, datetime] = {number: FIRST + number * HOUR for number in range(1, 6)}
    answer(settings, times | {None: FIRST + 9 * HOUR, 7: FIRST + WEEK})
    labels = [
        (1, DUE - HOUR, True),  # in time
        (2, DUE, False),  # at the last moment
        (2, DUE + HOUR, True),  # and changed
        (3, DUE - HOUR, False),
        (3, DUE + 2 * HOUR, False),  # said again: no change
        (4, DUE + HOUR, True),  # late
        (7, FIRST + WEEK + HOUR, True),
        (99, DUE - HOUR, True),  # nobody asked for it
    ]
    publish(settings, labels)
    return settings, read(settings.models / f"{NAME}.yaml")


def counts_at(served: tuple[Settings, Model], now: datetime) -> list[tuple[int, ...]]:
    found = label_counts(*served, now)
    return [(one.predictions, one.anonymous, one.arrived, one.missing, one.late, one.changed) for one in found]


def test_late_and_changed_labels_are_counted_from_the_moment_they_are_known(served: tuple[Settings, Model]) -> None:
    assert counts_at(served, DUE) == [(6, 1, 3, 3, 0, 0)]
    assert counts_at(served, DUE + HOUR) == [(6, 1, 3, 3, 1, 1)]
    assert counts_at(served, FIRST + 2 * WEEK) == [(6, 1, 3, 3, 1, 1), (1, 0, 1, 0, 0, 0)]


def test_a_window_that_has_not_matured_says_so_and_one_that_is_open_is_not_there(served: tuple[Settings, Model]) -> None:
    assert label_counts(*served, FIRST + WEEK - HOUR) == ()
    (count,) = label_counts(*served, DUE - HOUR)
    assert count == LabelCount(
        start=FIRST,
        end=FIRST + WEEK,
        matures_at=DUE,
        is_matured=False,
        predictions=6,
        anonymous=1,
        arrived=2,
        missing=4,
        late=0,
        changed=0,
    )


def test_the_command_prints_a_row_for_each_window_and_why_labels_are_not_found(
    served: tuple[Settings, Model], capsys: pytest.CaptureFixture[str]
) -> None:
    show_labels(served[0], NAME, DUE + HOUR, json=False)
    printed = capsys.readouterr().out
    for said in ("2024-04-01", "late since", "1 predictions carried no 'payment_id'"):
        assert said in printed
    show_labels(served[0], NAME, DUE + HOUR, json=True)
    assert '"changed": 1' in capsys.readouterr().out


IDS, KNOWN, TIMES = pa.array([1, 2**53 + 1]), pa.array([True, None]), pa.array([DUE, DUE], pa.timestamp("us", "UTC"))
"""Ids, labels and times that are taken as they are."""


def write_labels(settings: Settings, ids: pa.Array, times: pa.Array, known: pa.Array) -> str:
    """The path of labels of these types."""
    path = settings.source("outcomes")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table({"payment_id": ids, "event_timestamp": times, "charged_back": known}), path)
    return path


@pytest.mark.parametrize(
    ("ids", "times", "known", "said"),
    [
        (IDS, TIMES, pa.array(["false", "true"]), "column 'charged_back' is string, expected bool"),
        (IDS, TIMES, pa.array([0.2, 0.0]), "column 'charged_back' is double, expected bool"),
        (IDS, TIMES, pa.array([0, 1]), "column 'charged_back' is int64, expected bool"),
        (pa.array([1.0, 2.0**53]), TIMES, KNOWN, "column 'payment_id' is double, expected int64"),
        (pa.array([b"1", b"2"]), TIMES, KNOWN, "column 'payment_id' is binary, expected int64"),
        (
            IDS,
            TIMES.cast(pa.timestamp("us")),
            KNOWN,
            "column 'event_timestamp' is timestamp[us], expected timestamp; write it as",
        ),
    ],
    ids=["texts", "shares", "numbers", "float ids", "ids of bytes", "times without zone"],
)
def test_a_label_or_an_id_of_another_type_is_refused_as_in_training(
    tmp_path: Path, ids: pa.Array, times: pa.Array, known: pa.Array, said: str
) -> None:
    settings = settings_in(tmp_path)
    path = write_labels(settings, ids, times, known)
    with pytest.raises(DataError) as raised:
        published(settings, read(settings.models / f"{NAME}.yaml"), FIRST, DUE)
    assert str(raised.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("ids", "known", "found"),
    [
        (IDS, pa.array([True, False]), [(1, True), (2**53 + 1, False)]),
        (IDS, KNOWN, [(1, True)]),
        (IDS.filter(pa.array([True, False])).cast(pa.int32()), pa.array([True]), [(1, True)]),
        (pa.array(["007", "7"]), pa.array([True, False]), [("007", True), ("7", False)]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.array([True, False]), [("a", True), ("b", False)]),
        (IDS, pa.nulls(2), []),
    ],
    ids=["numbers", "a label to come", "short numbers", "texts", "categories", "no label known"],
)
def test_labels_and_ids_of_their_types_are_themselves(
    tmp_path: Path, ids: pa.Array, known: pa.Array, found: list[tuple[int | str, bool]]
) -> None:
    settings = settings_in(tmp_path)
    write_labels(settings, ids, TIMES[: len(ids)], known)
    labels = published(settings, read(settings.models / f"{NAME}.yaml"), FIRST, DUE)
    assert list(zip(labels["payment_id"].tolist(), labels["label"].tolist(), strict=True)) == found


@pytest.mark.parametrize("ids", ["numbers", "texts"])
@pytest.mark.parametrize("time", ["0001-01-01", "1970-01-01", "2024-03-31T23:59:59", "2024-04-01", "2024-04-09", "9999-12-31"])
def test_a_label_from_before_the_window_of_its_request_is_counted_and_named(
    served: tuple[Settings, Model], ids: str, time: str
) -> None:
    settings, model = served
    # Of 4 and 7 no label is known in time, of 1 one is; nobody asked for 99.
    odd = datetime.fromisoformat(time).replace(tzinfo=FIRST.tzinfo)
    own = pa.array([1, 1, 4, 99]) if ids == "numbers" else pa.array(["1", "1", "4", "99"])
    times = pa.array([DUE - HOUR, odd, odd, odd], pa.timestamp("us", "UTC"))
    write_labels(settings, own, times, pa.array([True, True, True, True]))
    logged = WindowLog.read(settings, model, [Window(start=FIRST, end=FIRST + WEEK)], DUE).window(
        Window(start=FIRST, end=FIRST + WEEK)
    )
    known = labels_by(settings, model, FIRST, DUE)
    unlabelled = without_label(logged, known, "payment_id")
    assert unlabelled == ([2, 3, 5] if FIRST <= odd <= DUE else [2, 3, 4, 5])
    said = too_early(settings, model, dict.fromkeys(unlabelled, FIRST))
    assert said == (
        f"1 label is set aside for a time before the window of the request, as payment_id 4 of {odd.isoformat()}; "
        "correct the clock or the zone that wrote them"
        if odd < FIRST
        else ""
    )
    assert too_early(settings, model, {}) == ""


def test_without_a_log_the_command_says_what_writes_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="perennial serve churn"):
        show_labels(settings_in(tmp_path), NAME, DUE, json=False)
