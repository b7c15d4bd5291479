"""Refit: fit the judged recipe again on every labelled row. This is the model that is shipped."""

from kfp import dsl

from components.step import step


@step
def refit(
    spec: str, run_key: str, dataset: dsl.Input[dsl.Dataset], candidate: dsl.Input[dsl.Model], version: dsl.Output[dsl.Model]
) -> None:
    """Refit the recipe of a candidate that passed its gates.

    Args:
        spec: model spec as JSON.
        run_key: key of the training.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder of the judged candidate.
        version: folder with the model, its contract and a reference sample with the model's outputs.
    """
    from pathlib import Path

    from perennial.data.dataset import load
    from perennial.lifecycle.candidate import TrainedCandidate
    from perennial.lifecycle.refit import refit_candidate
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    data = load(Path(dataset.path))
    trained = TrainedCandidate.read(Path(candidate.path))
    refitted = refit_candidate(data, read_text(spec), trained, run_key, Settings.from_environment().threads)
    refitted.write(Path(version.path))
