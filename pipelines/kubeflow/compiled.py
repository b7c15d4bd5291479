"""What KFP's compiler makes of our pipelines: for the API server, for people's files, and as objects of Kubernetes."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import yaml

from perennial import digests
from perennial.errors import PlatformError, SpecError

KINDS = ("training", "monitoring")
"""The pipelines that there are."""


def named(image: str | None) -> str:
    """The image of the steps, as a setting names it.

    Raises:
        SpecError: no setting names it.
    """
    if image is None:
        raise SpecError(
            "environment: PERENNIAL_STEPS_IMAGE is not set: a compiled pipeline names the image of its steps by digest, for "
            "example registry.example.com/perennial/steps@sha256:<64 hex digits>; `make images` builds it"
        )
    return image


@functools.cache
def text_of(kind: str, image: str) -> str:
    """The compiled pipeline: two YAML documents, its graph and what Kubernetes gives its step. The same for the same input.

    Args:
        kind: `training` or `monitoring`.
        image: of its step.
    """
    from kfp.compiler import Compiler

    from pipelines.kubeflow.graphs import graph

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}.yaml"
        Compiler().compile(graph(kind, image), str(path))
        return path.read_text(encoding="utf-8")


def spec_of(kind: str, image: str) -> dict[str, Any]:
    """The compiled pipeline as the API server takes it with a run."""
    graph, platforms = yaml.safe_load_all(text_of(kind, image))
    return {"pipeline_spec": graph, "platform_spec": platforms}


def version_of(kind: str, image: str) -> str:
    """Name of the pipeline's version: another one wherever a byte of it differs."""
    return f"{kind}-{digests.of_text(text_of(kind, image))[:12]}"


def objects_of(kind: str, image: str, namespace: str | None) -> str:
    """The same as `Pipeline` and `PipelineVersion`, for a server that keeps its pipelines in Kubernetes.

    The version has the two labels by which the server lists one that `kubectl apply` made where no webhook sets them.
    """
    from kfp.compiler import Compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    from pipelines.kubeflow.graphs import graph

    version = version_of(kind, image)
    options = KubernetesManifestOptions(
        pipeline_name=kind, pipeline_version_name=version, namespace=namespace, include_pipeline_manifest=True
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}.yaml"
        Compiler().compile(graph(kind, image), str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options)
        documents = [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]
    for document in documents:
        if document["kind"] == "PipelineVersion":
            document["metadata"].setdefault("labels", {})["pipelines.kubeflow.org/pipeline"] = kind
    return yaml.safe_dump_all(documents, sort_keys=True)


def write(folder: Path, image: str, namespace: str | None) -> list[Path]:
    """Write every pipeline into a folder, as KFP takes it and as objects of Kubernetes; returns the files.

    Args:
        folder: made where it is missing.
        image: of the steps.
        namespace: of the objects; none leaves it to whoever applies them.

    Raises:
        PlatformError: the folder cannot be written.
    """
    texts = {f"{kind}.yaml": text_of(kind, image) for kind in KINDS}
    texts |= {f"{kind}.objects.yaml": objects_of(kind, image, namespace) for kind in KINDS}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written: {error.strerror}") from error
    return [folder / name for name in texts]
