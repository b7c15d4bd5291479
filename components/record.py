"""Record: keep what the run found, and register the version when every gate let it through."""

from kfp import dsl

from components.step import step


@step
def record(
    spec: str,
    run_id: str,
    run_key: str,
    key: str,
    token: str,
    dataset: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    candidate: dsl.Input[dsl.Model] = None,
    judgement: dsl.Input[dsl.Artifact] = None,
    gates: dsl.Input[dsl.Artifact] = None,
    version: dsl.Input[dsl.Model] = None,
    thresholds: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Write the run to the ledger and to MLflow; register a version only when all gates passed.

    Args:
        spec: model spec as JSON.
        run_id: the run.
        run_key: key of the training.
        key: key of the run's claim.
        token: its fencing token.
        dataset: folder with `data.parquet` and `dataset.json`.
        validation: JSON of the gate *data*.
        report: page of the run.
        candidate: folder of the judged candidate; absent when the data was not valid.
        judgement: JSON of metrics, comparison and error analysis; absent when the data was not valid.
        gates: JSON of every gate's result; absent when the data was not valid.
        version: folder of the refitted model; absent when a gate stopped the candidate.
        thresholds: folder of its alarm thresholds; absent when a gate stopped the candidate.

    Returns:
        What became of the run: `registered`, `stopped` or `invalid data`.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from perennial.ledger import Fence
    from perennial.lifecycle.ending import Ending
    from perennial.lifecycle.registration import collect, register
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    steps = [None if artifact is None else Path(artifact.path) for artifact in (candidate, judgement, gates, version)]
    findings = collect(read_text(spec), Path(dataset.path), Path(validation.path), *steps)
    ending = Ending(run_id, Fence(kind="claim", key=key, token=int(token)), datetime.now(UTC))
    limits = None if thresholds is None else Path(thresholds.path)
    return register(Settings.from_environment(), findings, ending, run_key, Path(report.path), steps[-1], limits)
