"""The gate *serving*: boot the real runtime on a refitted version and ask it what its training already answered.

Everything between a request and its answer takes part: the version folder with its digests, the read plan, the packed store,
the freshness policy, the order of the columns, model file, calibrator, HTTP. Only the values are the dataset's. Not here: the
comparison of served features with those of training (`feature_repo.parity`), and what becomes of a version that passed.
"""

import http.client
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa

from feature_repo.online_store.database import open_database
from perennial.errors import DataError, NotFoundError
from perennial.evaluation.gates import GateResult
from perennial.outages import is_outage, translated
from perennial.versions.contract import Contract
from perennial.versions.folder import publish
from serving.deployers.local import deploy
from serving.verification.calls import Asking, CheckCall, MeasuredCalls, calls_of, layout_of
from serving.verification.process import NotServedError, booted, connected, exchange

NAME = "serving"
TOLERANCE = 1e-6
"""Largest difference between a served probability and that of the fitted model. Both compute in 64 bits: it hides no mistake."""
TRIES = 2
"""Times that the latency is measured; the better counts, since another process can only slow a server down."""


@dataclass(frozen=True)
class _Effort:
    """How much is asked, and how fast the answers must be."""

    p95_ms: float
    """Latency budget of one call in milliseconds, 95th percentile."""
    calls: int
    """Calls that are measured in one try."""
    warm_up: int
    """Calls before them."""


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
            measurement = _measure(files, Path(folder), model, run_key, _Effort(p95_ms, calls, warm_up))
    except (DataError, NotFoundError) as error:
        sentence = f"The model server does not serve the refitted files: {_one_line(str(error))}."
        return GateResult(name=NAME, verdict="fail", sentence=sentence, numbers={"limit": p95_ms, "tolerance": TOLERANCE})
    return _judge(measurement, p95_ms)


def _judge(measured: MeasuredCalls, p95_ms: float) -> GateResult:
    is_equal, is_quick = measured.difference <= TOLERANCE, measured.p95_ms <= p95_ms
    numbers = {"difference": measured.difference, "tolerance": TOLERANCE, "rows": float(measured.rows)}
    numbers |= {"p95_ms": measured.p95_ms, "limit": p95_ms, "calls": float(measured.calls)}
    return GateResult(
        name=NAME,
        verdict="pass" if is_equal and is_quick else "fail",
        sentence=_sentence(measured, p95_ms, is_equal, is_quick),
        numbers=numbers,
    )


def _sentence(measured: MeasuredCalls, p95_ms: float, is_equal: bool, is_quick: bool) -> str:
    """What the calls showed, for people."""
    where = "" if is_equal else f" (row {measured.worst})"
    answers = (
        f"{'gives' if is_equal else 'does not give'} the outputs of the fitted model on {measured.rows:,} rows of the training "
        f"data: largest difference {measured.difference:.1e}{where}, allowed {TOLERANCE:.0e}"
    )
    latency = (
        f"{'answers' if is_quick else 'does not answer'} 95 % of {measured.calls} calls within the budget of {p95_ms:g} ms: "
        f"95th percentile {measured.p95_ms:.3g} ms"
    )
    return f"The model server, booted on the refitted files, {answers}; it {latency}."


def _measure(files: Path, folder: Path, model: str, run_key: str, effort: _Effort) -> MeasuredCalls:
    """What the calls showed, in a folder of the check's own."""
    contract = Contract.read(files / "contract.json")
    if contract.plan is None:
        raise DataError("its contract has no read plan, so that no features can be looked up; build the dataset again and train")
    paths = {"model": files / "model.skops", "contract": files / "contract.json", "reference": files / "reference.parquet"}
    version = publish(paths, model, run_key, folder / "versions")
    calls = calls_of(_reference(paths["reference"]), contract.plan, effort.calls + effort.warm_up)
    layouts = [layout_of(view) for view in contract.plan.views]
    online = str(folder / "online.db")
    with open_database(online) as database:
        database.keep_layouts(layouts)
    deploy(folder / "current", version.path, None)
    with booted(folder, model, online) as port, connected(port) as connection:
        _check_ready(connection, model)
        return _asked(Asking(connection, model, online, layouts, MeasuredCalls()), calls, effort)


def _asked(asking: Asking, calls: Sequence[CheckCall], effort: _Effort) -> MeasuredCalls:
    """What the calls showed: those that warm the server up first, then tries until one is within the budget."""
    for call in calls[: effort.warm_up]:
        asking.ask(call)
    for _ in range(TRIES):
        asking.time(calls[effort.warm_up :], effort.p95_ms)
        if asking.measured.p95_ms <= effort.p95_ms:
            break
    return asking.measured


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


def _check_ready(connection: http.client.HTTPConnection, model: str) -> None:
    """The version serves.

    Raises:
        NotServedError: it was refused; says why.
    """
    status, answer = exchange(connection, "GET", f"/v2/models/{model}/ready", None, {})
    if status != 200:
        raise NotServedError(str(answer.get("reason", answer)))


def _one_line(text: str) -> str:
    r"""A reason as part of a sentence.

    >>> _one_line("it ends\n  here. ")
    'it ends here'
    """
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= 600 else line[:600] + "…"
