"""One loaded version: rows in, predictions out. Knows no protocol, writes no log, reads no clock.

Lookup, freshness policy, matrix in the contract's order, model, calibrator, threshold. How a version is loaded stands in
`loading`, what a caller sees of a prediction in `v1` and `v2`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from feature_repo.online_store.layout import Value
from feature_repo.online_store.reader import FOUND, Found, PlanReader
from perennial.data.matrix import LARGEST, convert
from perennial.data.read_plan import ReadPlan
from perennial.errors import DataError
from perennial.prediction_log import LogRow
from perennial.spec.features import DType
from perennial.versions.contract import Contract
from serving.runtime.protocol.failure import RequestFailure
from serving.runtime.protocol.inputs import Inputs, Row

Converted = float | str | None


class Scorer(Protocol):
    """What is asked of a fitted model."""

    def predict_proba(self, matrix: NDArray[np.object_]) -> NDArray[np.float64]:
        """Probabilities [rows, 2]; the second is that of the positive class."""
        ...


@dataclass(slots=True)
class Prediction:
    """What one row of a request got."""

    row: LogRow
    """What is logged: what was asked, seen and answered."""
    ages: tuple[float | None, ...]
    """For each view of the plan the age of its observation, in seconds; None where nothing was found."""
    rejected: tuple[str, ...]
    """Views that forbid a prediction, because they were stale and the spec says `reject`; then there is no probability."""


class Predictor:
    """A version, ready to answer. For one thread at a time."""

    def __init__(
        self, digest: str, number: int | None, contract: Contract, model: Scorer, plan: ReadPlan, reader: PlanReader
    ) -> None:
        """A predictor of these parts.

        Args:
            digest: of the version's folder.
            number: of the version, for people.
            contract: of the version.
            model: its fitted model.
            plan: how its features are read.
            reader: of that plan.

        Raises:
            DataError: the contract has a column that the plan does not give.
        """
        self.digest, self.number, self.contract, self.plan, self.reader = digest, number, contract, plan, reader
        self.inputs = Inputs(plan, contract.id_column, contract.id_kind)
        self.views = tuple(view.view for view in plan.views)
        self._model = model
        self._key_names = tuple(key.name for key in plan.keys)
        self._field_names = tuple(field.name for field in plan.fields)
        self._feature_names = tuple(feature.name for feature in plan.features)
        self._ranges = _ranges(plan)
        names = (*self._feature_names, *self._field_names)
        unknown = [column.name for column in contract.columns if column.name not in names]
        if unknown:
            raise DataError(
                f"the model sees {', '.join(unknown)}, which the read plan does not give; it gives {', '.join(names)}"
            )
        self._columns: tuple[tuple[int, DType], ...] = tuple((names.index(c.name), c.dtype) for c in contract.columns)

    def look_up(self, rows: Sequence[Row]) -> list[Found]:
        """What the online store holds for each row.

        Raises:
            PlatformError: the store does not answer.
        """
        return self.reader.read([row.keys for row in rows])

    def predict(self, rows: Sequence[Row], found: Sequence[Found], ids: Callable[[], str]) -> list[Prediction]:
        """A prediction for each row; none for those that the freshness policy rejects.

        Args:
            rows: what was asked.
            found: what the store holds for each.
            ids: draws the id of a prediction.

        Raises:
            RequestFailure: the model gave something that is no probability.
        """
        treated = [self._treat(row, lookup) for row, lookup in zip(rows, found, strict=True)]
        indices = [index for index, (_, _, rejected) in enumerate(treated) if not rejected]
        matrix = [self._matrix_row(treated[index][0], rows[index].fields) for index in indices]
        answers: list[float | None] = [None] * len(rows)
        for index, answer in zip(indices, self._probabilities(matrix), strict=True):
            answers[index] = answer
        predictions = []
        for row, lookup, (values, stale, rejected), probability in zip(rows, found, treated, answers, strict=True):
            fields = dict(zip(self._field_names, row.fields, strict=True))
            if row.id is not None:
                fields[self.contract.id_column] = row.id
            logged = LogRow(
                prediction_id=ids(),
                time=row.time,
                version=self.digest,
                keys=dict(zip(self._key_names, row.keys, strict=True)),
                fields=fields,
                features=dict(zip(self._feature_names, values, strict=True)),
                observed_at=dict(zip(self.views, lookup.observed_at, strict=True)),
                stale=stale,
                probability=probability,
                decision=None if probability is None else probability >= self.contract.threshold,
            )
            ages = tuple([None if observed is None else row.time - observed for observed in lookup.observed_at])
            predictions.append(Prediction(logged, ages, rejected))
        return predictions

    def _treat(self, row: Row, found: Found) -> tuple[Sequence[Value], dict[str, str], tuple[str, ...]]:
        """Values after the freshness policy, why a view is not fresh, and the views that forbid a prediction.

        As in training: a view of which nothing is found is missing, never rejected. A value that cannot be read counts as stale.
        """
        stale: dict[str, str] = {}
        rejected: tuple[str, ...] = ()
        values: list[Value] | None = None
        for view, (start, end), status, observed in zip(
            self.plan.views, self._ranges, found.status, found.observed_at, strict=True
        ):
            if status == FOUND:
                if not view.is_stale(observed, row.time):
                    continue
                status = "stale"
            stale[view.view] = status
            if status == "missing" or view.on_stale == "last_known":
                continue
            if view.on_stale == "reject":
                rejected += (view.view,)
            else:
                values = list(found.values) if values is None else values
                values[start:end] = [None] * (end - start)
        return (found.values if values is None else values), stale, rejected

    def _matrix_row(self, features: Sequence[Value], fields: Sequence[Value]) -> list[Converted]:
        """`matrix.convert` of each of the model's columns, in its order; ordinary floats and strings need no call."""
        values = (*features, *fields)
        converted: list[Converted] = []
        for index, dtype in self._columns:
            value = values[index]
            if type(value) is float:
                as_it_is = dtype != "string" and -LARGEST <= value <= LARGEST
            else:
                as_it_is = type(value) is str and dtype == "string"
            converted.append(value if as_it_is else convert(value, dtype))
        return converted

    def _probabilities(self, rows: list[list[Converted]]) -> list[float]:
        if not rows:
            return []
        matrix = np.empty((len(rows), len(self._columns)), dtype=object)
        matrix[:] = rows
        raw = np.asarray(self._model.predict_proba(matrix)[:, 1], dtype=np.float64)
        probabilities: list[float] = self.contract.calibrator.apply(raw).tolist()
        if not all(0.0 <= probability <= 1.0 for probability in probabilities):
            raise RequestFailure(500, "the model gave a number that is no probability; the row was not answered")
        return probabilities


def _ranges(plan: ReadPlan) -> tuple[tuple[int, int], ...]:
    """For each view the places of its features among those of the plan."""
    ranges, start = [], 0
    for view in plan.views:
        ranges.append((start, start + len(view.features)))
        start += len(view.features)
    return tuple(ranges)
