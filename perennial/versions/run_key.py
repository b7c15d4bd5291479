"""The run key: what a training's result depends on, in one digest. The same key gives the same predictions."""

import functools
from pathlib import Path

from perennial import digests
from perennial.data.dataset import DatasetInfo
from perennial.spec.model import Model
from perennial.spec.read import digest
from perennial.versions.folder import environment

PACKAGES = ("perennial", "feature_repo", "monitoring", "serving", "components", "pipelines")
"""Our packages whose code can change a result."""


@functools.cache
def code_digest() -> str:
    """Digest of our installed source files, of Python's version and of every installed distribution's.

    The definitions and specs of a project are not in it: they have digests of their own.
    """
    root = Path(__file__).parents[2]
    files = [path for name in PACKAGES for path in (root / name).rglob("*.py") if "definitions" not in path.parts]
    return digests.of_json({"files": digests.of_files(files, root), "environment": environment().model_dump()})


def run_key(model: Model, info: DatasetInfo, code: str | None = None) -> str:
    """Digest of spec, definitions, dataset, code and seed.

    Args:
        model: the spec.
        info: the dataset.
        code: digest of the code; that of the installed code when absent.
    """
    return digests.of_json(
        {
            "spec": digest(model),
            "definitions": info.definitions_digest,
            "dataset": info.digest,
            "code": code or code_digest(),
            "seed": model.spec.training.seed,
        }
    )
