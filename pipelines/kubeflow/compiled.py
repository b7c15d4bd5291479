"""What KFP's compiler makes of our pipelines: for the API server, for people's files, and as objects of Kubernetes."""

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Compilation:
    """One pipeline as it is compiled. Equal ones give the same bytes."""

    kind: str
    """`training` or `monitoring`."""
    image: str
    """Of its step, by digest."""
    model: str = ""
    """Model that its form names from the beginning; empty: whoever starts it types one."""

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return f"{self.kind}-{self.model}" if self.model else self.kind

    @property
    def text(self) -> str:
        """Two YAML documents: the graph, and what Kubernetes gives its step."""
        return _text(self)

    @property
    def version(self) -> str:
        """Name of the version: another one wherever a byte differs."""
        return f"{self.name}-{digests.of_text(self.text)[:12]}"

    def spec(self) -> dict[str, Any]:
        """The same as the API server takes it with a run."""
        graph, platforms = yaml.safe_load_all(self.text)
        return {"pipeline_spec": graph, "platform_spec": platforms}

    def objects(self, namespace: str | None) -> str:
        """The same as `Pipeline` and `PipelineVersion`, for a server that keeps its pipelines in Kubernetes.

        Args:
            namespace: of the objects; none leaves it to whoever applies them.
        """
        from kfp.compiler.compiler_utils import KubernetesManifestOptions

        options = KubernetesManifestOptions(
            pipeline_name=self.name, pipeline_version_name=self.version, namespace=namespace, include_pipeline_manifest=True
        )
        written = _compiled(self, kubernetes_manifest_format=True, kubernetes_manifest_options=options)
        documents = [document for document in yaml.safe_load_all(written) if document]
        for document in documents:
            if document["kind"] == "PipelineVersion":  # the server lists one without it only where its webhook sets it
                document["metadata"]["labels"] = {"pipelines.kubeflow.org/pipeline": self.name}
        return yaml.safe_dump_all(documents, sort_keys=True)


def compilations(image: str, model: str = "") -> list[Compilation]:
    """Every pipeline that there is.

    Args:
        image: of the steps, by digest.
        model: that their forms name; may be empty.
    """
    return [Compilation(kind, image, model) for kind in KINDS]


def write(folder: Path, pipelines: Sequence[Compilation], namespace: str | None) -> list[Path]:
    """Write pipelines into a folder, as KFP takes them and as objects of Kubernetes; returns the files.

    Args:
        folder: made where it is missing.
        pipelines: to be written.
        namespace: of the objects; none leaves it to whoever applies them.

    Raises:
        PlatformError: the folder cannot be written.
    """
    texts = {f"{pipeline.name}.yaml": pipeline.text for pipeline in pipelines}
    texts |= {f"{pipeline.name}.objects.yaml": pipeline.objects(namespace) for pipeline in pipelines}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlatformError(f"{folder}: cannot be written: {error.strerror}") from error
    return [folder / name for name in texts]


@functools.cache
def _text(pipeline: Compilation) -> str:
    return _compiled(pipeline)


def _compiled(pipeline: Compilation, **options: Any) -> str:
    from kfp.compiler import Compiler

    from pipelines.kubeflow.graphs import graph

    if pipeline.model:
        options |= {"pipeline_name": pipeline.name, "pipeline_parameters": {"model": pipeline.model}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{pipeline.kind}.yaml"
        Compiler().compile(graph(pipeline.kind, pipeline.image), str(path), **options)
        return path.read_text(encoding="utf-8")
