"""The summary of a dataset for people to look at: Evidently's, of a seeded sample.

It judges nothing: what a dataset must be stands in `perennial.data.validation`. Evidently's own tests are left out, because on
equal distributions a quarter of them fail. Its report embeds its viewer and has four megabytes however few columns it shows.
"""

from __future__ import annotations

import html as markup
import json as text
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.data.dataset import Dataset
from perennial.spec.columns import Column

TIME = "event_timestamp"
LABEL = "label"


def summarise(dataset: Dataset, *, seed: int, html: Path, json: Path, rows: int = 5000) -> None:
    """Write Evidently's summary of a sample of a dataset, as a page and as JSON.

    What Evidently cannot show is left out and named in both: a column that is not there, or has no value in the sample. The
    dataset may break its contract.

    Args:
        dataset: the rows, and what they are.
        seed: seed of the sample.
        html: file of the page.
        json: file of the numbers: `metadata` and Evidently's `metrics`.
        rows: most rows of the sample.
    """
    frame, info = dataset
    sample = frame
    if len(frame) > rows:
        chosen = np.random.default_rng(seed).choice(len(frame), size=rows, replace=False)
        sample = frame.iloc[np.sort(chosen)]
    shown, left_out = _readable(sample, (*info.columns, Column(name=LABEL, dtype="bool", view=None)))
    metadata = {
        "dataset": info.digest,
        "model": info.model,
        "rows": len(sample),
        "rows_of_dataset": len(frame),
        "seed": seed,
        "left_out": left_out,
    }
    note = f"A sample of {len(sample):,} of {len(frame):,} requests of {info.model}, dataset {info.digest[:16]}, seed {seed}."
    if left_out:
        note += f" Left out: {'; '.join(f'{name} ({reason})' for name, reason in left_out.items())}."
    page, numbers = _report(shown) if shown.shape[1] and len(shown) else ("<!DOCTYPE html><html><body></body></html>", {})
    html.write_text(with_note(page, note), encoding="utf-8")
    json.write_text(text.dumps({"metadata": metadata, "metrics": numbers.get("metrics", [])}, indent=1) + "\n", encoding="utf-8")


def _readable(sample: pd.DataFrame, columns: tuple[Column, ...]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The columns as Evidently reads them (numbers as float64, the rest as texts), and why others are left out."""
    shown: dict[str, pd.Series[float] | pd.Series[str]] = {}
    left_out: dict[str, str] = {}
    for column in columns:
        if column.name not in sample:
            left_out[column.name] = "no such column"
            continue
        values = sample[column.name]
        number = column.dtype in ("float", "int") and pd.api.types.is_numeric_dtype(values.dtype)
        if number:
            values = values.astype("float64").replace([np.inf, -np.inf], np.nan)
        if values.isna().all():
            left_out[column.name] = "no value in the sample"
            continue
        shown[column.name] = values if number else values.map(str, na_action="ignore").astype(object).where(values.notna(), None)
    if TIME in sample and isinstance(sample[TIME].dtype, pd.DatetimeTZDtype) and not sample[TIME].isna().all():
        shown[TIME] = sample[TIME]
    return pd.DataFrame(shown).reset_index(drop=True), left_out


def _report(shown: pd.DataFrame) -> tuple[str, dict[str, object]]:
    """Evidently's page and numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # its import uses names that numpy gives up, its report divides by constant columns' spread
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataSummaryPreset

        numbers = [name for name in shown if shown[name].dtype == "float64"]
        definition = DataDefinition(
            timestamp=TIME if TIME in shown else None,
            numerical_columns=numbers,
            categorical_columns=[name for name in shown if name not in (*numbers, TIME)],
        )
        dataset = Dataset.from_pandas(shown, data_definition=definition)
        snapshot = Report([DataSummaryPreset()], include_tests=False).run(dataset, None)
        return str(snapshot.get_html_str(as_iframe=False)), dict(text.loads(snapshot.json()))


def with_note(page: str, note: str) -> str:
    """The page with a paragraph at the top of its body."""
    paragraph = f'<p style="font: 14px sans-serif; margin: 1em 2em">{markup.escape(note)}</p>'
    head, body, rest = page.partition("<body>")
    return f"{head}{body}{paragraph}{rest}"
