"""`perennial compile`: the pipelines as files and on the server, and what of them is new."""

from pathlib import Path

from console.display.output import console, print_json
from perennial.errors import SpecError
from perennial.settings import Settings
from perennial.spec.read import read

UPLOADED, KNOWN = "uploaded", "on the server already"
"""What an upload came to."""


def compile_and_show(settings: Settings, model: str, out: Path | None, upload: bool, json: bool) -> None:
    """Compile every pipeline, write and upload it as asked, and print what became of it.

    Args:
        settings: where things are.
        model: that the forms name; may be empty.
        out: folder for the files; none writes none.
        upload: whether they go to the pipeline server.
        json: print JSON instead of text.

    Raises:
        SpecError: nothing was asked for, there is no image or server, or the model has no valid spec.
        PlatformError: the folder cannot be written, or the server does not answer or refuses.
    """
    from pipelines.kubeflow.compiled import compilations, named, write

    if out is None and not upload:
        raise SpecError("compile: neither --out nor --upload was given; allowed: --out DIR (files), --upload (the server), both")
    if upload and settings.pipelines is None:
        raise SpecError(
            "environment: PERENNIAL_PIPELINES is not set: --upload needs the address of Kubeflow Pipelines' API, for example "
            "http://ml-pipeline.kubeflow:8888"
        )
    if model:
        read(settings.models / f"{model}.yaml")
    pipelines = compilations(named(settings.steps_image), model)
    files = [] if out is None else write(out, pipelines, settings.namespace)
    results = {}
    if settings.pipelines is not None and upload:
        from pipelines.kubeflow.api import PipelineServer

        server = PipelineServer(settings.pipelines)
        for pipeline in pipelines:
            results[pipeline.version] = UPLOADED if server.upload(pipeline, settings.namespace) else KNOWN
    if json:
        print_json({"files": [str(path) for path in files], "versions": results or [pipeline.version for pipeline in pipelines]})
        return
    for path in files:
        console().print(f"{path}", soft_wrap=True)
    for version, result in results.items():
        console().print(f"{version}: {result}", soft_wrap=True)
