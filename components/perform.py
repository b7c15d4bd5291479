"""Perform: how the served model did in each matured window."""

from kfp import dsl

from components.step import step


@step
def perform(spec: str, now: str, measurements: dsl.Input[dsl.Artifact], performances: dsl.Output[dsl.Artifact]) -> None:
    """Judge every matured window that was not judged, by the labels that were known when it matured.

    Args:
        spec: model spec as JSON.
        now: ISO 8601 UTC; windows that have matured by then are judged.
        measurements: JSON of what the windows held that were measured in this run.
        performances: JSON of how the model did in each.
    """
    from datetime import datetime
    from pathlib import Path

    from monitoring.evidence import perform_due
    from monitoring.results import Measurements
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    measured = Measurements.read(Path(measurements.path))
    window_performances = perform_due(Settings.from_environment(), read_text(spec), datetime.fromisoformat(now), measured)
    window_performances.write(Path(performances.path))
    performances.metadata.update(windows=len(window_performances.windows))
