"""Rows of a version's reference as calls, and the asking of them: what is sent, what the store holds, what came back."""

import http.client
import json
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from feature_repo.online_store.database import open_database
from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Field, Layout, Value, key_encoder
from perennial.data.matrix import LARGEST, is_missing
from perennial.data.read_plan import PlanView, ReadPlan
from perennial.errors import DataError, PlatformError
from serving.verification.process import NotServedError, exchange

QUANTILE = 0.95
LATER = 503
"""HTTP status of an answer that says that the same request may be answered later: no fault of the version."""


@dataclass(frozen=True)
class CheckCall:
    """One row of the reference as a request, with what the store holds at its time."""

    id: str
    """Of the row, for people."""
    time: str
    """Time of the request, ISO 8601 UTC."""
    body: bytes
    """The V1 request."""
    stored: tuple[tuple[Layout, Row], ...]
    """What the store holds: views of which nothing was found are left out."""
    probability: float
    """What the fitted model answered."""


@dataclass
class MeasuredCalls:
    """What the calls showed."""

    rows: int = 0
    """Answers that were compared."""
    difference: float = 0.0
    """Largest difference from the fitted model's probability."""
    worst: str = ""
    """Id of the row that has it."""
    p95_ms: float = np.inf
    """Latency of the better try."""
    calls: int = 0
    """Calls of that try. A try ends once its budget cannot be met any more."""


def layout_of(view: PlanView) -> Layout:
    """How the store packs a view of the plan."""
    keys = tuple(Field(name=key.name, kind=key.kind) for key in view.join_keys)
    return Layout(view=view.view, join_keys=keys, fields=tuple(Field(name=value.name, kind=value.kind) for value in view.fields))


def calls_of(reference: pd.DataFrame, plan: ReadPlan, count: int) -> list[CheckCall]:
    """Rows of the reference, drawn over the whole of it, as calls; each again and again where there are fewer than `count`.

    Args:
        reference: a version's reference sample: times, keys, features, request-time fields, observation times, `probability`.
        plan: of the version.
        count: calls that are wanted.

    Raises:
        DataError: a column is not there, or a value does not fit its type.
    """
    inputs = _inputs(plan)
    _require(reference, plan, inputs)
    places = np.resize(np.random.default_rng(0).permutation(len(reference)), count)
    writers = [(view, layout_of(view)) for view in plan.views]
    rows = reference.iloc[places].to_dict("records")
    return [_call({str(name): value for name, value in row.items()}, inputs, writers) for row in rows]


def _inputs(plan: ReadPlan) -> dict[str, str]:
    """What a request brings, with its types: fields and keys."""
    return {field.name: str(field.dtype) for field in plan.fields} | {key.name: str(key.kind) for key in plan.keys}


def _require(reference: pd.DataFrame, plan: ReadPlan, inputs: Iterable[str]) -> None:
    """Refuse a reference that lacks a column.

    Raises:
        DataError: names the columns that are not there.
    """
    features = [feature.name for feature in plan.features]
    needed = ["event_timestamp", "probability", *inputs, *features, *(view.observed_at for view in plan.views)]
    missing = [name for name in needed if name not in reference]
    if missing:
        raise DataError(f"the reference has no column {', '.join(missing)}; it has {', '.join(map(str, reference.columns))}")


def _call(row: Mapping[str, Any], inputs: Mapping[str, str], writers: Sequence[tuple[PlanView, Layout]]) -> CheckCall:
    """A row of the reference as a call.

    Args:
        row: by the names of the columns; the first is the id.
        inputs: what a request brings, with its types.
        writers: each view with the layout by which the store packs it.

    Raises:
        DataError: a value does not fit its type.
    """
    identifier = str(next(iter(row.values())))
    try:
        instance = {name: _sent(row[name], kind) for name, kind in inputs.items()}
        stored = [(layout, _stored(row, view, layout)) for view, layout in writers]
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise DataError(f"row {identifier} of the reference does not fit the read plan: {error}") from error
    return CheckCall(
        id=identifier,
        time=row["event_timestamp"].isoformat(),
        body=json.dumps({"instances": [instance]}).encode(),
        stored=tuple((layout, values) for layout, values in stored if values is not None),
        probability=float(row["probability"]),
    )


def _stored(row: Mapping[str, Any], view: PlanView, layout: Layout) -> Row | None:
    """What the store holds of a view at the time of a row; None where nothing was found."""
    names = {feature.name for feature in view.features} | {view.observed_at}
    values = [plain(row[field.name], field.kind) if field.name in names else None for field in view.fields]
    if all(value is None for value in values):
        return None
    key = [plain(row[key.name], key.kind) for key in view.join_keys]
    return key_encoder(layout.join_keys)(key), 0, layout.encode(values)


def _sent(value: Any, kind: str) -> Value:
    """A value as a request brings it; what a model takes for missing is null."""
    plain_value = plain(value, kind)
    return None if isinstance(plain_value, float) and not abs(plain_value) <= LARGEST else plain_value


def plain(value: Any, kind: str) -> Value:
    """A value of a dataset's frame in the type that the store and a request have for it.

    >>> plain(3.0, "int64"), plain(1.0, "bool"), plain(float("nan"), "float32"), plain("S1", "string")
    (3, True, None, 'S1')
    >>> plain(pd.Timestamp("1970-01-01T00:01:00.5Z"), "timestamp")
    60
    """
    if is_missing(value):
        return None
    if kind == "timestamp":
        return int(value.timestamp() // 1)
    if kind == "string":
        return str(value)
    if kind == "bool":
        return bool(value)
    return int(value) if kind.startswith("int") and float(value).is_integer() else float(value)


@dataclass
class Asking:
    """Calls one after the other, on one connection."""

    connection: http.client.HTTPConnection
    model: str
    online: str
    layouts: Sequence[Layout]
    measured: MeasuredCalls

    def time(self, calls: Sequence[CheckCall], budget_ms: float) -> None:
        """Measure the latency of these calls, and keep it when it is the better one."""
        took: list[float] = []
        slow = 0
        for call in calls:
            took.append(self.ask(call))
            slow += took[-1] > budget_ms
            if slow > (1 - QUANTILE) * len(calls):
                break  # a slow model would hold the pipeline up for nothing
        p95_ms = float(np.quantile(took, QUANTILE, method="inverted_cdf"))
        if p95_ms < self.measured.p95_ms:
            self.measured.p95_ms, self.measured.calls = p95_ms, len(took)

    def ask(self, call: CheckCall) -> float:
        """Ask, and compare the answer. How long it took, in milliseconds.

        Raises:
            NotServedError: there is none, or not the one that a row of the training data gets.
            PlatformError: the server says that the same call may work later.
        """
        self._store(call)
        headers = {"Content-Type": "application/json", "Perennial-Time": call.time}
        start = time.perf_counter()
        status, answer = exchange(self.connection, "POST", f"/v1/models/{self.model}:predict", call.body, headers)
        took = (time.perf_counter() - start) * 1e3
        difference = abs(_probability_in(status, answer, call) - call.probability)
        self.measured.rows += 1
        if not difference <= self.measured.difference:
            self.measured.difference, self.measured.worst = difference, call.id
        return took

    def _store(self, call: CheckCall) -> None:
        """Let the store hold this row's values and nothing else."""
        with open_database(self.online) as database:
            database.drop(layout.view for layout in self.layouts)
            database.keep_layouts(self.layouts)
            for layout, values in call.stored:
                database.write(layout, [values])


def _probability_in(status: int, answer: Mapping[str, Any], call: CheckCall) -> float:
    """The probability that a call was answered with.

    Raises:
        NotServedError: there is none.
        PlatformError: the server says that the same call may work later.
    """
    if status != 200:
        kind = PlatformError if status == LATER else NotServedError
        raise kind(f"row {call.id} was answered with {status}: {answer.get('error', answer)}")
    [prediction] = answer["predictions"]
    if prediction["probability"] is None:
        views = ", ".join(prediction.get("rejected", ()))
        raise NotServedError(f"row {call.id} got no probability, although it was trained on; rejected for {views or 'no reason'}")
    return float(prediction["probability"])
