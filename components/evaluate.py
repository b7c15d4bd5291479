"""Evaluate: metrics with intervals, comparison with the champion and the baseline, error analysis, plots."""

from kfp import dsl

from components.step import step


@step
def evaluate(
    spec: str,
    champion: str,
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    judgement: dsl.Output[dsl.Artifact],
    plots: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Judge a candidate on the evaluation block.

    Args:
        spec: model spec as JSON.
        champion: digest of the champion's version folder; empty when there is none.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder of the trained candidate.
        judgement: JSON of metrics, comparison and error analysis.
        plots: page with the plots.
        metrics: point estimates.
    """
    from pathlib import Path

    from monitoring.log.answers import judge
    from perennial.lifecycle.candidate import TrainedCandidate
    from perennial.reports.run_page import plots_page
    from perennial.settings import Settings
    from perennial.spec.read import read_text

    model, trained = read_text(spec), TrainedCandidate.read(Path(candidate.path))
    candidate_judgement = judge(Path(dataset.path), model, trained, Settings.from_environment(), champion)
    candidate_judgement.write(Path(judgement.path))
    Path(plots.path).write_text(plots_page(model, candidate_judgement, trained.summary), encoding="utf-8")
    metrics.metadata.update({name: estimate.value for name, estimate in candidate_judgement.evaluation.metrics.items()})
