"""Build the dataset: the point-in-time join of requests, features and labels as they were known at `now`."""

from kfp import dsl

from components.step import step


@step
def build_dataset(spec: str, now: str, wall_clock: str, excluded: str, dataset: dsl.Output[dsl.Dataset]) -> str:
    """Build and store the dataset of a training.

    Args:
        spec: model spec as JSON.
        now: ISO 8601 UTC; nothing known later is used.
        wall_clock: ISO 8601 UTC, the real time; source rows later than it are an error.
        excluded: times whose requests do not train, as JSON: a list of [from, until), ISO 8601 UTC.
        dataset: folder with `data.parquet` and `dataset.json`.

    Returns:
        The run key: digests of spec, definitions, dataset, code and seed, hashed together.
    """
    from pathlib import Path

    from feature_repo.dataset import build, spans
    from perennial.data.dataset import copy, keep
    from perennial.moment import Moment
    from perennial.settings import Settings
    from perennial.spec.read import read_text
    from perennial.versions.run_key import run_key

    model, settings = read_text(spec), Settings.from_environment()
    data = build(settings, model, Moment.parse(now, wall_clock), spans(excluded))
    copy(keep(settings, data), Path(dataset.path))
    dataset.metadata.update(digest=data.info.digest, rows=data.info.rows, labelled=data.info.labelled)
    return run_key(model, data.info)
