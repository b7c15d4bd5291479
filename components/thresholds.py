"""Thresholds: what is normal for the version, from weekly blocks of its training."""

from kfp import dsl

from components.step import step


@step
def set_thresholds(
    spec: str,
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    version: dsl.Input[dsl.Model],
    thresholds: dsl.Output[dsl.Artifact],
) -> None:
    """Compute the alarm thresholds that monitoring will hold against the version's windows.

    Args:
        spec: model spec as JSON.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder of the judged candidate.
        version: folder of the refitted model.
        thresholds: folder with `thresholds.json` and `blocks.parquet`.
    """
    from pathlib import Path

    from monitoring.reference.thresholds import make_thresholds, write
    from perennial.data.dataset import load
    from perennial.lifecycle.candidate import TrainedCandidate
    from perennial.spec.read import read_text
    from perennial.versions.contract import Contract

    data = load(Path(dataset.path))
    contract = Contract.read(Path(version.path) / "contract.json")
    alarm_thresholds, blocks = make_thresholds(data, read_text(spec), TrainedCandidate.read(Path(candidate.path)), contract)
    write(alarm_thresholds, blocks, Path(thresholds.path))
    thresholds.metadata.update(blocks=alarm_thresholds.blocks, rate_per_test=alarm_thresholds.rate_per_test)
