"""Validate the data: the contract of the dataset, and a summary for people to look at."""

from kfp import dsl

from components.step import step


@step
def validate_data(
    spec: str,
    dataset: dsl.Input[dsl.Dataset],
    validation: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.HTML],
    statistics: dsl.Output[dsl.Artifact],
) -> str:
    """Check the dataset against its contract and summarise a sample of it.

    Args:
        spec: model spec as JSON.
        dataset: folder with `data.parquet` and `dataset.json`.
        validation: JSON of the gate *data* and every finding.
        summary: Evidently's report of a sample.
        statistics: the same as JSON.

    Returns:
        The verdict of the gate *data*.
    """
    from pathlib import Path

    from monitoring.summary import summarise
    from perennial.data.dataset import load
    from perennial.data.validation import validate
    from perennial.spec.read import read_text

    model = read_text(spec)
    data = load(Path(dataset.path))
    result = validate(data, model.spec.gates.data)
    result.write(Path(validation.path))
    summarise(data, seed=model.spec.training.seed, html=Path(summary.path), json=Path(statistics.path))
    return result.gate.verdict
