"""Rows of a version's reference as calls, and the asking of them: what is sent, what the store holds, what came back."""

import http.client
import json
import struct
import time
from collections.abc import Mapping, Sequence
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
class Call:
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
class Measured:
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


def calls_of(reference: pd.DataFrame, plan: ReadPlan, count: int) -> list[Call]:
    """Rows of the reference, drawn over the whole of it, as calls; each again and again where there are fewer than `count`.

    Args:
        reference: a version's reference sample: times, keys, features, request-time fields, observation times, `probability`.
        plan: of the version.
        count: calls that are wanted.

    Raises:
        DataError: a column is not there, or a value does not fit its type.
    """
    inputs = {key.name: str(key.kind) for key in plan.keys}
    inputs = {field.name: str(field.dtype) for field in plan.fields} | inputs
    features = [feature.name for feature in plan.features]
    needed = ["event_timestamp", "probability", *inputs, *features, *(view.observed_at for view in plan.views)]
    missing = [name for name in needed if name not in reference]
    if missing:
        raise DataError(f"the reference has no column {', '.join(missing)}; it has {', '.join(map(str, reference.columns))}")
    places = np.resize(np.random.default_rng(0).permutation(len(reference)), count)
    writers = [(view, layout_of(view)) for view in plan.views]
    calls = []
    for row in reference.iloc[places].to_dict("records"):
        named = {str(name): value for name, value in row.items()}
        identifier = str(next(iter(named.values())))
        try:
            instance = {name: _sent(named[name], kind) for name, kind in inputs.items()}
            stored = [(layout, _stored(named, view, layout)) for view, layout in writers]
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise DataError(f"row {identifier} of the reference does not fit the read plan: {error}") from error
        calls.append(
            Call(
                id=identifier,
                time=named["event_timestamp"].isoformat(),
                body=json.dumps({"instances": [instance]}).encode(),
                stored=tuple((layout, values) for layout, values in stored if values is not None),
                probability=float(named["probability"]),
            )
        )
    return calls


def _stored(row: Mapping[str, Any], view: PlanView, layout: Layout) -> Row | None:
    """What the store holds of a view at the time of a row; None where nothing was found."""
    known = {feature.name for feature in view.features} | {view.observed_at}
    values = [plain(row[field.name], field.kind) if field.name in known else None for field in view.fields]
    if all(value is None for value in values):
        return None
    key = [plain(row[key.name], key.kind) for key in view.join_keys]
    return key_encoder(layout.join_keys)(key), 0, layout.encode(values)


def _sent(value: Any, kind: str) -> Value:
    """A value as a request brings it; what a model takes for missing is null."""
    found = plain(value, kind)
    return None if isinstance(found, float) and not abs(found) <= LARGEST else found


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
    measured: Measured

    def time(self, calls: Sequence[Call], p95_ms: float) -> None:
        """The latency of these calls is measured, and kept when it is the better one."""
        took: list[float] = []
        slow = 0
        for call in calls:
            took.append(self.ask(call))
            slow += took[-1] > p95_ms
            if slow > (1 - QUANTILE) * len(calls):
                break  # a slow model would hold the pipeline up for nothing
        found = float(np.quantile(took, QUANTILE, method="inverted_cdf"))
        if found < self.measured.p95_ms:
            self.measured.p95_ms, self.measured.calls = found, len(took)

    def ask(self, call: Call) -> float:
        """The answer is compared; returns how long it took, in milliseconds.

        Raises:
            NotServedError: there is none, or not the one that a row of the training data gets.
            PlatformError: the server says that the same call may work later.
        """
        with open_database(self.online) as database:
            # The store holds this row's values and nothing else.
            database.drop(layout.view for layout in self.layouts)
            database.keep_layouts(self.layouts)
            for layout, values in call.stored:
                database.write(layout, [values])
        headers = {"Content-Type": "application/json", "Perennial-Time": call.time}
        start = time.perf_counter()
        status, answer = exchange(self.connection, "POST", f"/v1/models/{self.model}:predict", call.body, headers)
        took = (time.perf_counter() - start) * 1e3
        if status != 200:
            kind = PlatformError if status == LATER else NotServedError
            raise kind(f"row {call.id} was answered with {status}: {answer.get('error', answer)}")
        [prediction] = answer["predictions"]
        if prediction["probability"] is None:
            views = ", ".join(prediction.get("rejected", ()))
            raise NotServedError(
                f"row {call.id} got no probability, although it was trained on; rejected for {views or 'no reason'}"
            )
        difference = abs(float(prediction["probability"]) - call.probability)
        self.measured.rows += 1
        if not difference <= self.measured.difference:
            self.measured.difference, self.measured.worst = difference, call.id
        return took
