"""Measure: what each closed window held, and how it differs from the weeks before."""

from kfp import dsl

from components.step import step


@step
def measure(
    spec: str,
    now: str,
    measurements: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    statistics: dsl.Output[dsl.Artifact],
) -> None:
    """Measure every closed window that has no record.

    Args:
        spec: model spec as JSON.
        now: ISO 8601 UTC; windows that have closed by then are measured.
        measurements: JSON of what each window held.
        report: Evidently's report of the newest of them against the four before it.
        statistics: the same as JSON.
    """
    from datetime import datetime
    from pathlib import Path

    from monitoring.evidence import measure_due
    from monitoring.report import show
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    model = read_text(spec)
    window_measurements, newest = measure_due(Settings.from_environment(), model, datetime.fromisoformat(now))
    window_measurements.write(Path(measurements.path))
    show(newest, model, html=Path(report.path), json=Path(statistics.path))
    measurements.metadata.update(windows=len(window_measurements.windows))
