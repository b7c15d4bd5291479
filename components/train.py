"""Train: search the candidates, or refit the champion's recipe, on what was known before the evaluation block."""

from kfp import dsl

from components.step import step


@step
def train(spec: str, recipe: str, dataset: dsl.Input[dsl.Dataset], candidate: dsl.Output[dsl.Model]) -> None:
    """Train one candidate, to be judged on the evaluation block that it has not seen.

    Args:
        spec: model spec as JSON.
        recipe: recipe to refit as JSON; empty to search among the candidates.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder with the model, the search, the calibrator and the out-of-fold predictions.
    """
    from pathlib import Path

    from perennial.data.dataset import load
    from perennial.lifecycle.candidate import train_candidate
    from perennial.settings import Settings
    from perennial.spec.read import read_text
    from perennial.training.side_by_side import Power

    data = load(Path(dataset.path))
    trained = train_candidate(data, read_text(spec), recipe, Power.of(Settings.from_environment()), print)
    trained.write(Path(candidate.path))
    candidate.metadata.update(kind=trained.summary.search.recipe.kind, rows=trained.summary.rows)
