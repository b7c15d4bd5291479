"""The due windows of a model, measured and judged: log, labels, versions and ledger are read, and nothing is written to them."""

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path

import pandas as pd

from monitoring.drift import Reference, measure
from monitoring.labels import labels_by, too_early, without_label
from monitoring.results import Measured, Measurements, Performances, Performed
from monitoring.windows import LoggedWindow, WindowLog, due, matures
from perennial.errors import NotFoundError
from perennial.ledger import Ledger, Version
from perennial.loop.window import WindowRecord
from perennial.settings import Settings
from perennial.spec.model import Model
from perennial.versions import store as version_store
from perennial.versions.contract import Contract
from perennial.versions.folder import open_version
from perennial.versions.thresholds import Thresholds


@dataclass(frozen=True)
class Newest:
    """The newest window that was measured, to be shown."""

    logged: LoggedWindow
    before: tuple[LoggedWindow, ...]
    """The four windows before it, newest first."""
    reference: Reference


def measure_due(settings: Settings, model: Model, now: datetime) -> tuple[Measurements, Newest | None]:
    """Every closed window that has no record, measured; and the newest of them, None when none is due.

    Args:
        settings: where log, versions and ledger are.
        model: the spec.
        now: UTC.

    Raises:
        NotFoundError: there is neither a prediction in a window nor a champion.
    """
    with Ledger.open(settings.ledger) as ledger:
        records, champion = ledger.windows(model.name), ledger.champion(model.name)
        incidents = ledger.incidents(model.name)
    due_windows = due(settings, model, records, now)
    closed = due_windows.closed
    if not closed:
        return Measurements(windows=(), set_aside=due_windows.set_aside), None
    log = WindowLog.read(settings, model, closed, now)
    records_by_start = {record.start: record for record in records}
    read_once = cache(lambda digest: reference(version_store.folder(settings, model.name, digest)))
    measurements, newest = [], None
    for window in closed:
        newest = Newest(log.window(window), log.before(window), read_once(_answering(log.window(window), champion)))
        measurement = measure(newest.logged, newest.before, newest.reference, model, records_by_start, incidents)
        measurements.append(Measured(window=window, measurement=measurement))
        records_by_start[window.start] = WindowRecord(
            model=model.name, start=window.start, end=window.end, measured_at=now, measurement=measurement, performance=None
        )
    return Measurements(windows=tuple(measurements), set_aside=due_windows.set_aside), newest


def _answering(logged: LoggedWindow, champion: Version | None) -> str:
    """Digest of the version that answered most of a window; of the champion when nothing was answered."""
    digest = next(iter(logged.versions), None if champion is None else champion.digest)
    if digest is None:
        raise NotFoundError(f"window of {logged.window.start:%Y-%m-%d}: no prediction and no champion; nothing can be measured")
    return digest


def perform_due(settings: Settings, model: Model, now: datetime, measurements: Measurements) -> Performances:
    """Every matured window that was not judged, judged by the labels that were known when it matured.

    Args:
        settings: where log, labels, versions and ledger are.
        model: the spec.
        now: UTC.
        measurements: of the windows that were measured in the same run.

    Raises:
        NotFoundError: a version that answered is gone, or there is no source of labels.
    """
    from monitoring.performance import FrozenBaseline, Served, earlier_losses, perform
    from perennial.lifecycle.judgement import Champion
    from perennial.versions.findings import CandidateSummary

    with Ledger.open(settings.ledger) as ledger:
        records, versions = ledger.windows(model.name), ledger.versions(model.name)
    judged_by = {record.start: record.measurement.champion for record in records}
    judged_by |= {measured.window.start: measured.measurement.champion for measured in measurements.windows}
    broken = {record.start for record in records if record.measurement.broken}
    broken |= {measured.window.start for measured in measurements.windows if measured.measurement.broken}
    # A window that came to light since it was measured (a dead process's segment was sealed) waits for the next run.
    matured = [window for window in due(settings, model, records, now).matured if window.start in judged_by]
    if not matured:
        return Performances(windows=())
    log = WindowLog.read(settings, model, matured, now)

    @cache
    def served(digest: str) -> Served:
        version = open_version(version_store.folder(settings, model.name, digest))
        baseline = CandidateSummary.read(version.file("candidate")).baseline
        return Served(digest, Contract.read(version.file("contract")).threshold, baseline, Thresholds.of_version(version))

    first = min(versions, key=lambda version: version.number, default=None)
    frozen = (
        None
        if first is None
        else FrozenBaseline(first.digest, Champion.read(version_store.folder(settings, model.name, first.digest)))
    )
    losses = {digest: earlier_losses(records, digest) for digest in set(judged_by.values())}
    performances, unlabelled = [], dict[int | str, datetime]()
    for window in matured:
        digest, logged = judged_by[window.start], log.window(window)
        labels = labels_by(settings, model, window.start, matures(window, model))
        performance = perform(logged, labels, model, served(digest), frozen, losses[digest])
        unlabelled |= dict.fromkeys(without_label(logged, labels, model.spec.requests.id), window.start)
        performances.append(Performed(window=window, performance=performance))
        if performance.loss is not None and not performance.loss.degraded and window.start not in broken:
            losses[digest][window.start] = performance.loss.value
    return Performances(windows=tuple(performances), set_aside=too_early(settings, model, unlabelled))


def reference(folder: Path) -> Reference:
    """The version in a folder, as windows are held against it.

    Raises:
        DataError: a file of the folder is missing, foreign or not what its digest says.
        NotFoundError: there is no such folder.
    """
    version = open_version(folder)
    has_thresholds = version.has("thresholds") and version.has("blocks")
    return Reference(
        digest=version.digest,
        contract=Contract.read(version.file("contract")),
        thresholds=Thresholds.read(version.file("thresholds")) if has_thresholds else None,
        blocks=pd.read_parquet(version.file("blocks")) if has_thresholds else pd.DataFrame(),
    )
