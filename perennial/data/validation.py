"""The data contract: what a dataset must be to be trained on, and the gate *data* that says whether it is.

A bad dataset is a result with every finding, never an exception. What holds row by row is a pandera schema; what holds of the
whole (shares, numbers of rows, classes) is counted here. pandas and pandera are imported by what uses them, because a run's
findings are read by commands that need neither.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perennial.data.dataset import Dataset, DatasetInfo, exclusion_note
from perennial.evaluation.gates import GateResult
from perennial.record import Record
from perennial.spec.gates import DataGate

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pa

EXAMPLES = 3
"""Most rows that a finding names."""


class Validation(Record):
    """What the contract said about a dataset."""

    gate: GateResult
    """The gate *data*."""
    findings: tuple[str, ...]
    """Every finding: where, what was found, what is allowed. Empty when the gate passes."""


def validate(dataset: Dataset, gates: DataGate) -> Validation:
    """Every way in which a dataset breaks its contract, and the gate's verdict on it.

    Args:
        dataset: the rows, and what they are.
        gates: the limits.
    """
    frame, info = dataset
    counts = Counts()
    findings = (
        *row_findings(dataset),
        *order_findings(dataset),
        *whole_findings(dataset, gates, counts),
    )
    if findings:
        suffix = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        sentence = f"The dataset cannot be trained on: {findings[0]}{suffix}{exclusion_note(info.model, info.excluded)}."
    else:
        sentence = (
            f"All {len(info.columns)} columns of {len(frame):,} requests are as they must be; "
            f"{counts.numbers['training_rows']:,.0f} labelled rows to train on."
        )
    verdict = GateResult(name="data", verdict="fail" if findings else "pass", sentence=sentence, numbers=counts.numbers)
    return Validation(gate=verdict, findings=findings)


@dataclass
class Counts:
    """The numbers that the gate was decided on."""

    numbers: dict[str, float | None] = field(default_factory=dict)

    def add(self, name: str, value: float) -> float:
        """Keep a number; one that is not finite is kept as null."""
        self.numbers[name] = value if value == value and abs(value) != float("inf") else None
        return value


def contract(info: DatasetInfo) -> pa.DataFrameSchema:
    """What each row of a dataset must be, as a pandera schema.

    A check passes over a column of another type than it reads: the check of the type speaks for that.

    Args:
        info: names and types of the columns.
    """
    import pandera.pandas as pa

    kinds = {
        "float": [_of_type("float64"), _float_check(_finite, "not finite")],
        "int": [_of_type("float64"), _float_check(_finite, "not finite"), _float_check(_whole, "not a whole number")],
        "bool": [_of_type("float64"), _float_check(_bool, "neither 0 nor 1")],
        "string": [pa.Check(_texts, error="not a text")],
    }
    columns = {column.name: pa.Column(None, kinds[column.dtype], nullable=True) for column in info.columns}
    columns |= {key: pa.Column(None, nullable=True) for key in info.join_keys if key not in columns}
    columns[info.id_column] = pa.Column(None, nullable=False, unique=True)
    columns["event_timestamp"] = pa.Column(None, [_zone_check(), _before(info.now)], nullable=False)
    columns["label"] = pa.Column(None, [_of_type("boolean")], nullable=True)
    columns["label_known_at"] = pa.Column(None, [_zone_check(), _before(info.now)], nullable=True)
    columns |= {f"{view.view}_observed_at": pa.Column(None, [_zone_check()], nullable=True) for view in info.views}
    return pa.DataFrameSchema(columns, strict=False)


def _of_type(dtype: str) -> pa.Check:
    import pandera.pandas as pa

    return pa.Check(lambda values: str(values.dtype) == dtype, error=f"not of type {dtype}")


def _float_check(rule: Callable[[pd.Series[float]], pd.Series[bool]], error: str) -> pa.Check:
    import pandera.pandas as pa

    return pa.Check(lambda values: rule(values) if str(values.dtype) == "float64" else True, error=error)


def _finite(values: pd.Series[float]) -> pd.Series[bool]:
    return values.abs() != math.inf


def _whole(values: pd.Series[float]) -> pd.Series[bool]:
    return values == values.round()


def _bool(values: pd.Series[float]) -> pd.Series[bool]:
    return values.isin([0.0, 1.0])


def _texts(values: pd.Series[str]) -> pd.Series[bool]:
    return values.map(lambda value: isinstance(value, str)).astype(bool)


def _zoned(values: pd.Series[pd.Timestamp]) -> bool:
    return str(values.dtype).startswith("datetime64") and str(values.dtype).endswith("UTC]")


def _zone_check() -> pa.Check:
    import pandera.pandas as pa

    return pa.Check(_zoned, error="not a time in UTC")


def _before(now: str) -> pa.Check:
    import pandas as pd
    import pandera.pandas as pa

    end = pd.Timestamp(now)
    return pa.Check(lambda values: values <= end if _zoned(values) else True, error=f"later than the dataset, {now}")


def row_findings(dataset: Dataset) -> Iterator[str]:
    """Findings of the schema: each broken rule once, with the number of rows and the ids of a few."""
    frame, info = dataset
    import pandera.pandas as pa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandera joins its failure cases in a way that pandas 3 will change
        try:
            contract(info).validate(frame.reset_index(drop=True), lazy=True)
            return
        except pa.errors.SchemaErrors as errors:
            failures = errors.failure_cases
    words = {"not_nullable": "missing; must be known in every row", "field_uniqueness": "more than once; must be unique"}
    for (column, check), cases in failures.groupby(["column", "check"], sort=False, dropna=False):
        if check == "column_in_dataframe":
            yield from (f"{name}: no such column; the dataset must have it" for name in cases["failure_case"])
            continue
        cases = cases.sort_values("index")
        rows = [int(row) for row in cases["index"].dropna()]
        values = [] if check in words else [str(value) for value in cases["failure_case"].head(EXAMPLES)]
        yield f"{column}: {words.get(check, check)}{_examples(dataset, rows, values)}"


def order_findings(dataset: Dataset) -> Iterator[str]:
    """Findings about two columns of a row: a label known before its request, an observation after it."""
    frame, info = dataset
    pairs = [("event_timestamp", "label_known_at", "label_known_at: before the request")]
    pairs += [
        (f"{view.view}_observed_at", "event_timestamp", f"{view.view}_observed_at: after the request, which is a leak")
        for view in info.views
    ]
    for first, second, message in pairs:
        if {first, second} <= set(frame.columns) and _zoned(frame[first]) and _zoned(frame[second]):
            rows = (frame[first] > frame[second]).to_numpy().nonzero()[0].tolist()
            if rows:
                yield f"{message}{_examples(dataset, rows, frame[first].iloc[rows[:EXAMPLES]].astype(str).tolist())}"
    if {"label", "label_known_at"} <= set(frame.columns):
        rows = (frame["label"].isna() != frame["label_known_at"].isna()).to_numpy().nonzero()[0].tolist()
        if rows:
            yield f"label_known_at: known without a label, or the other way round{_examples(dataset, rows, [])}"


def _examples(dataset: Dataset, rows: list[int], values: list[str]) -> str:
    """Which rows a finding is about, in words; empty when it is about the whole column."""
    frame, info = dataset
    if not rows:
        return ""
    ids = dict.fromkeys(str(frame[info.id_column].iloc[row]) for row in rows[:EXAMPLES]) if info.id_column in frame else ["?"]
    examples = f" (found {', '.join(dict.fromkeys(values))})" if values else ""
    return f"; {len(rows):,} of {len(frame):,} rows, such as {info.id_column} {', '.join(ids)}{examples}"


def whole_findings(dataset: Dataset, gates: DataGate, counts: Counts) -> Iterator[str]:
    """Findings about shares, numbers of rows and classes; what they were decided on is added to `counts`."""
    frame, info = dataset
    rows = counts.add("rows", float(len(frame)))
    if rows != info.rows:
        yield f"dataset: {len(frame):,} rows; its description says {info.rows:,}"
    if not len(frame):
        yield "dataset: no rows"
        return
    yield from _label_findings(dataset, gates, counts)
    yield from _null_findings(dataset, gates, counts)
    largest_share = 0.0
    for view in info.views:
        share = view.stale / (info.rows + info.rejected) if info.rows + info.rejected else 0.0
        largest_share = max(largest_share, share)
        if share > gates.max_stale_share:
            yield (
                f"{view.view}: older than its freshness limit for {share:.1%} of the requests; "
                f"at most {gates.max_stale_share:.1%} (gates.data.max_stale_share)"
            )
    counts.add("stale_share", largest_share)
    counts.add("max_stale_share", gates.max_stale_share)


def _label_findings(dataset: Dataset, gates: DataGate, counts: Counts) -> Iterator[str]:
    frame, info = dataset
    import pandas as pd

    if not {"label", "event_timestamp"} <= set(frame.columns) or not _zoned(frame["event_timestamp"]):
        return
    label_mask = frame["label"].notna()
    if str(frame["label"].dtype) != "boolean":
        return
    share = counts.add("unlabelled_share", 1 - float(label_mask.mean()))
    counts.add("max_unlabelled_share", gates.max_unlabelled_share)
    if share > gates.max_unlabelled_share:
        limit = f"{gates.max_unlabelled_share:.1%} (gates.data.max_unlabelled_share)"
        yield f"label: missing for {share:.1%} of the requests; at most {limit}"
    training_mask = frame["event_timestamp"] < pd.Timestamp(info.evaluation_start)
    training = counts.add("training_rows", float((label_mask & training_mask).sum()))
    counts.add("min_rows", float(gates.min_rows))
    if training < gates.min_rows:
        yield (
            f"label: {training:,.0f} labelled rows before the evaluation block ({info.evaluation_start[:10]}); "
            f"at least {gates.min_rows:,} (gates.data.min_rows)"
        )
    for part, mask in (
        ("before the evaluation block", label_mask & training_mask),
        ("in the evaluation block", label_mask & ~training_mask),
    ):
        values = frame["label"][mask].astype(bool)
        if not len(values):
            yield f"label: no labelled row {part}"
        elif values.nunique() == 1:
            yield f"label: {'always true' if values.iloc[0] else 'never true'} {part}; both must occur"
    if label_mask.any():
        counts.add("label_rate", float(frame["label"][label_mask].astype(bool).mean()))


def _null_findings(dataset: Dataset, gates: DataGate, counts: Counts) -> Iterator[str]:
    frame, info = dataset
    import pandas as pd

    names = dict.fromkeys([*info.join_keys, *(column.name for column in info.columns)])
    largest_share = 0.0
    training_mask = None
    if "event_timestamp" in frame and _zoned(frame["event_timestamp"]):
        training_mask = frame["event_timestamp"] < pd.Timestamp(info.evaluation_start)
    for name in names:
        if name not in frame:
            continue
        nulls = frame[name].isna()
        share = float(nulls.mean())
        largest_share = max(largest_share, share)
        if share == 1:
            yield f"{name}: every value is missing; at most {gates.max_null_share:.1%} may be (gates.data.max_null_share)"
        elif share > gates.max_null_share:
            yield f"{name}: {share:.1%} of the values are missing; at most {gates.max_null_share:.1%} (gates.data.max_null_share)"
        elif training_mask is not None:
            for part, mask in (("before", training_mask), ("in", ~training_mask)):
                if mask.any() and nulls[mask].all():
                    yield f"{name}: every value {part} the evaluation block is missing; a model cannot use it"
    counts.add("null_share", largest_share)
    counts.add("max_null_share", gates.max_null_share)
