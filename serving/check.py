"""The serving check: the gate that boots the real runtime on a refitted version and asks it what its training already answered.

Everything between a request and its answer takes part: the version folder with its digests, the read plan, the packed store,
the freshness policy, the order of the columns, model file, calibrator, HTTP. Only the values are the dataset's. Not here: the
comparison of served features with those of training (`feature_repo.parity`), and what becomes of a version that passed.

It runs in a step of the training pipeline, not in the serving process, and reads the reference with pandas.
"""

import http.client
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from feature_repo.online_store.database import open_database
from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Field, Layout, Value, key_encoder
from perennial.data.matrix import LARGEST, is_missing
from perennial.data.read_plan import PlanView, ReadPlan
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.evaluation.gates import GateResult
from perennial.outages import is_outage, translated
from perennial.versions.contract import Contract
from perennial.versions.folder import publish
from serving.deployers.local import deploy

NAME = "serving"
TOLERANCE = 1e-6
"""Largest difference between a served probability and that of the fitted model. Both compute in 64 bits: it hides no mistake."""
TRIES = 2
"""Times that the latency is measured; the better counts, since another process can only slow a server down."""
QUANTILE = 0.95
BOOT_SECONDS = 120.0
"""How long the server may take until it listens. It takes two; a busy machine with a cold disk twenty."""
ANSWER_SECONDS = 30.0
"""How long one answer may take before the server counts as hung."""
END_SECONDS = 10.0
"""How long the server may take to end before it is killed."""
LATER = 503
"""HTTP status of an answer that says that the same request may be answered later: no fault of the version."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""What a training step was given is not for the server: it chooses its own."""


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


class NotServedError(DataError):
    """The server does not serve the version as it must: a failed gate, seen by nobody else."""


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


def check_serving(files: Path, *, model: str, run_key: str, p95_ms: float, calls: int = 200, warm_up: int = 50) -> GateResult:
    """Whether the real runtime serves the files of a refitted version as the fitted model answered, and fast enough.

    Whatever is wrong with the files or with the server on them is a `fail` with its reason, never an exception: the server does
    not listen in time, refuses the version, hangs, answers wrongly. What says nothing of the version is raised: a full disk, a
    store that does not answer, a bug. The server has ended either way.

    Args:
        files: folder with `model.skops`, `contract.json` and `reference.parquet`, as `Refitted.write` makes it.
        model: name of the model.
        run_key: key of the training.
        p95_ms: latency budget of one call in milliseconds, 95th percentile, seen by the caller.
        calls: calls that are measured in one try.
        warm_up: calls before them; their answers are compared too.

    Raises:
        PlatformError: the disk or the store failed, here or in the server.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="serving-check-") as folder:
            measured = _measure(files, Path(folder), model, run_key, p95_ms, calls, warm_up)
    except (DataError, NotFoundError) as error:
        sentence = f"The model server does not serve the refitted files: {_one_line(str(error))}."
        return GateResult(name=NAME, verdict="fail", sentence=sentence, numbers={"limit": p95_ms, "tolerance": TOLERANCE})
    return _judge(measured, p95_ms)


def _judge(measured: Measured, p95_ms: float) -> GateResult:
    is_equal, is_quick = measured.difference <= TOLERANCE, measured.p95_ms <= p95_ms
    where = "" if is_equal else f" (row {measured.worst})"
    answers = (
        f"{'gives' if is_equal else 'does not give'} the outputs of the fitted model on {measured.rows:,} rows of the training "
        f"data: largest difference {measured.difference:.1e}{where}, allowed {TOLERANCE:.0e}"
    )
    latency = (
        f"{'answers' if is_quick else 'does not answer'} 95 % of {measured.calls} calls within the budget of {p95_ms:g} ms: "
        f"95th percentile {measured.p95_ms:.3g} ms"
    )
    return GateResult(
        name=NAME,
        verdict="pass" if is_equal and is_quick else "fail",
        sentence=f"The model server, booted on the refitted files, {answers}; it {latency}.",
        numbers={
            "difference": measured.difference,
            "tolerance": TOLERANCE,
            "rows": float(measured.rows),
            "p95_ms": measured.p95_ms,
            "limit": p95_ms,
            "calls": float(measured.calls),
        },
    )


def _measure(files: Path, folder: Path, model: str, run_key: str, p95_ms: float, calls: int, warm_up: int) -> Measured:
    contract = Contract.read(files / "contract.json")
    if contract.plan is None:
        raise DataError("its contract has no read plan, so that no features can be looked up; build the dataset again and train")
    paths = {"model": files / "model.skops", "contract": files / "contract.json", "reference": files / "reference.parquet"}
    published = publish(paths, model, run_key, folder / "versions")
    asked = calls_of(_reference(paths["reference"]), contract.plan, calls + warm_up)
    layouts = [layout_of(view) for view in contract.plan.views]
    online = str(folder / "online.db")
    with open_database(online) as database:
        database.keep_layouts(layouts)
    deploy(folder / "current", published.path, None)
    measured = Measured()
    with _booted(folder, model, online) as port, _connected(port) as connection:
        _check_ready(connection, model)
        asking = _Asking(connection, model, online, layouts, measured)
        for call in asked[:warm_up]:
            asking.ask(call)
        for _ in range(TRIES):
            asking.time(asked[warm_up:], p95_ms)
            if measured.p95_ms <= p95_ms:
                break
    return measured


def _reference(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except (pa.ArrowException, ValueError, OSError) as error:
        if is_outage(error):
            raise translated(error, path.name) from error
        raise DataError(f"{path.name} cannot be read: {error}") from error
    if frame.empty:
        raise DataError(f"{path.name} has no rows: there is nothing to compare")
    if "probability" in frame and not frame["probability"].between(0, 1).all():
        raise DataError(f"{path.name} has an output of the fitted model that is no probability")
    return frame


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
class _Asking:
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
        status, answer = _exchange(self.connection, "POST", f"/v1/models/{self.model}:predict", call.body, headers)
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


def _exchange(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    """Status and body of an answer.

    Raises:
        NotServedError: there is none, or it is not a JSON object.
    """
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotServedError(f"{method} {path}: no answer: {error or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise NotServedError(f"{method} {path}: answered {answer!r}")
    return response.status, answer


def _check_ready(connection: http.client.HTTPConnection, model: str) -> None:
    """The version serves.

    Raises:
        NotServedError: it was refused; says why.
    """
    status, answer = _exchange(connection, "GET", f"/v2/models/{model}/ready", None, {})
    if status != 200:
        raise NotServedError(str(answer.get("reason", answer)))


@contextmanager
def _connected(port: int) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _booted(folder: Path, model: str, online: str) -> Iterator[int]:
    """The port of a server process for what is deployed in `folder`; it has ended afterwards.

    Raises:
        NotServedError: it does not listen.
        PlatformError: it ended, and says that it may work later.
    """
    output = folder / "server.txt"
    # Without -P a folder `serving` of the project that is trained would be taken for ours.
    command = [sys.executable, "-P", "-m", "serving.runtime", "--model", model, "--current", str(folder / "current")]
    command += ["--online", online, "--log", str(folder / "log"), "--port", "0", "--replay", "--drain-seconds", "0"]
    environment = {name: value for name, value in os.environ.items() if name not in THREADS}
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment)
    try:
        yield _port_in(output, process)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
        process.kill()
        process.wait()


def _port_in(output: Path, process: "subprocess.Popen[bytes]") -> int:
    """The port that a server says it listens on."""
    until = time.monotonic() + BOOT_SECONDS
    while True:
        code, text = process.poll(), output.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"serving .* on http://\S+:(\d+)", text)
        if found and code is None:
            return int(found[1])
        said = f"it said: {text.strip().splitlines()[-1]}" if text.strip() else "it said nothing"
        if code is not None:
            kind = PlatformError if code == PlatformError.exit_code else NotServedError
            raise kind(f"the server ended with exit code {code} before it listened; {said}")
        if time.monotonic() > until:
            raise NotServedError(f"the server did not listen within {BOOT_SECONDS:g} s; {said}")
        time.sleep(0.02)


def _one_line(text: str) -> str:
    r"""A reason as part of a sentence.

    >>> _one_line("it ends\n  here. ")
    'it ends here'
    """
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 600 else line[:600] + "…"
