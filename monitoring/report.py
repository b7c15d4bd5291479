"""Evidently's report of one window for people to look at: the newest closed one against the four before it.

It judges nothing: the verdicts stand in the window's record. Every method is named; Evidently's own verdict on the dataset is not
asked for. A report embeds its viewer and has five megabytes, so there is one a run.
"""

import json as text
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from monitoring.drift import Reference
from monitoring.evidence import Newest
from monitoring.reference.blocks import joined, sample
from monitoring.reference.statistics import Values, present, unsuited
from monitoring.summary import with_note
from monitoring.windows import LoggedWindow
from perennial.spec.model import Model
from perennial.spec.operations import MonitoredColumn

EMPTY = "<!DOCTYPE html><html><body></body></html>"


def show(newest: Newest | None, model: Model, *, html: Path, json: Path) -> None:
    """Write the report as a page, and its numbers as JSON: `metadata` and Evidently's `metrics`.

    A column without a value on either side, or whose method does not suit it, is left out and named in both.

    Args:
        newest: the newest window; None when none was measured.
        model: the spec: watched columns with their methods.
        html: file of the page.
        json: file of the numbers.
    """
    if newest is None:
        note = f"No window of {model.name} has closed since the last run."
        _write(EMPTY, note, {"model": model.name}, {}, html, json)
        return
    rows, window = newest.reference.block_rows(model.spec.monitoring), newest.logged.window
    shown: dict[str, tuple[Values, Values]] = {}
    left_out: dict[str, str] = {}
    watched = []
    for column in model.spec.monitoring.columns:
        sides = _sides(newest, column, rows)
        if isinstance(sides, str):
            left_out[column.name] = sides
        else:
            shown[column.name] = sides
            watched.append(column)
    span = f"{window.start:%Y-%m-%d} to {window.end:%Y-%m-%d}"
    note = f"{model.name}, window {span} against the four before it; samples of at most {rows:,} predictions a window."
    if left_out:
        note += f" Left out: {'; '.join(f'{name} ({reason})' for name, reason in left_out.items())}."
    metadata: dict[str, object] = {
        "model": model.name,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "left_out": left_out,
    }
    page, numbers = _report(watched, shown) if shown else (EMPTY, {})
    _write(page, note, metadata, numbers, html, json)


def _write(page: str, note: str, metadata: dict[str, object], numbers: dict[str, object], html: Path, json: Path) -> None:
    html.write_text(with_note(page, note), encoding="utf-8")
    json.write_text(text.dumps({"metadata": metadata, "metrics": numbers.get("metrics", [])}, indent=1) + "\n", encoding="utf-8")


def _sides(newest: Newest, column: MonitoredColumn, rows: int) -> tuple[Values, Values] | str:
    """The column in the window and in the weeks before, or why it is left out."""
    is_text = column.name in newest.reference.texts
    if reason := unsuited(column.method, is_text):
        return reason
    now = _values(newest.logged, column.name, is_text, rows, newest.reference)
    weeks = [_values(window, column.name, is_text, rows, newest.reference) for window in newest.before]
    before = [values for values in weeks if values is not None and len(values)]
    if now is None or not len(now):
        return "no value in the window"
    if not before:
        return "no value in the weeks before"
    return now, joined(before)


def _values(logged: LoggedWindow, name: str, is_text: bool, rows: int, reference: Reference) -> Values | None:
    values = logged.values(name, is_text)
    if values is None:
        return None
    if len(values) > rows:
        seed = 0 if reference.thresholds is None else reference.thresholds.seed
        values = values[sample(np.arange(len(values)), rows, seed, logged.window.start.toordinal())]
    return present(values)


def _report(watched: list[MonitoredColumn], shown: dict[str, tuple[Values, Values]]) -> tuple[str, dict[str, object]]:
    """Evidently's page and numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its import uses names that numpy gives up; constant columns divide by no spread
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import MeanValue, ValueDrift

        texts = [name for name, (now, _) in shown.items() if now.dtype == object]
        texts += [column.name for column in watched if column.method == "chisquare" and column.name not in texts]
        definition = DataDefinition(numerical_columns=[name for name in shown if name not in texts], categorical_columns=texts)
        now, before = (
            Dataset.from_pandas(
                pd.DataFrame({name: pd.Series(sides[index]) for name, sides in shown.items()}), data_definition=definition
            )
            for index in (0, 1)
        )
        metrics = [
            MeanValue(column=column.name) if column.method == "mean" else ValueDrift(column=column.name, method=column.method)
            for column in watched
        ]
        snapshot = Report(metrics, include_tests=False).run(now, before)
        return str(snapshot.get_html_str(as_iframe=False)), dict(text.loads(snapshot.json()))
