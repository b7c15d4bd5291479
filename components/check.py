"""Check: does the refitted model rank as the judged one did, and answer as it did in memory, from its file and from a server?"""

from kfp import dsl

from components.step import step


@step
def check(
    spec: str,
    run_key: str,
    dataset: dsl.Input[dsl.Dataset],
    candidate: dsl.Input[dsl.Model],
    version: dsl.Input[dsl.Model],
    gates: dsl.Input[dsl.Artifact],
    checked: dsl.Output[dsl.Artifact],
) -> None:
    """Add the gates of the refitted model to those of the candidate.

    Args:
        spec: model spec as JSON.
        run_key: key of the training.
        dataset: folder with `data.parquet` and `dataset.json`.
        candidate: folder of the judged candidate.
        version: folder of the refitted model.
        gates: JSON of the results so far.
        checked: JSON of every gate's result, those of the refit included.
    """
    from pathlib import Path

    from perennial.data.dataset import load
    from perennial.lifecycle.candidate import TrainedCandidate
    from perennial.lifecycle.refit import check_refit
    from perennial.spec.read import read_text
    from perennial.versions.findings import GateResults
    from serving.verification.gate import check_serving

    data = load(Path(dataset.path))
    model, files = read_text(spec), Path(version.path)
    refit = check_refit(data, model, TrainedCandidate.read(Path(candidate.path)), files)
    served = check_serving(files, model=model.name, run_key=run_key, p95_ms=model.spec.serving.p95_ms)
    GateResults.read(Path(gates.path)).and_then((*refit, served)).write(Path(checked.path))
