"""Check: does the refitted model, read back from its file, rank as the judged one did and answer as it did in memory?"""

from kfp import dsl

from components.step import step


@step
def check(
    spec: str,
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    version: dsl.Input[dsl.Model],
    gates: dsl.Input[dsl.Artifact],
    checked: dsl.Output[dsl.Artifact],
) -> None:
    """Add the gates of the refitted model to those of the candidate.

    Args:
        spec: model spec as JSON.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder of the judged candidate.
        version: folder of the refitted model.
        gates: JSON of the results so far.
        checked: JSON of every gate's result, those of the refit included.
    """
    from pathlib import Path

    from perennial.candidate import TrainedCandidate
    from perennial.dataset import load
    from perennial.findings import GateResults
    from perennial.refit import check_refit
    from perennial.spec.read import read_text

    frame, info = load(Path(dataset.path))
    trained = TrainedCandidate.read(Path(candidate.path))
    results = check_refit(frame, info, read_text(spec), trained, Path(version.path))
    GateResults.read(Path(gates.path)).and_then(results).write(Path(checked.path))
