"""`perennial features`: sources to the bucket, definitions to the registry, values to the online store."""

from datetime import datetime
from pathlib import Path

from console.display.output import console, print_json, table
from feature_repo import store
from feature_repo.sources import REMOTE, opened
from perennial.errors import NotFoundError, SpecError
from perennial.settings import Settings
from perennial.stores.bucket import Bucket


def upload(settings: Settings, folder: Path | None, json: bool) -> None:
    """Every Parquet file of a folder is a source in the bucket; print rows and columns of each.

    Args:
        settings: where things are.
        folder: of `<source>.parquet` files; the state's `sources/` when absent.
        json: print JSON instead of a table.

    Raises:
        SpecError: sources are not in a bucket.
        NotFoundError: the folder has no Parquet file.
        DataError: a file is not Parquet; none was uploaded.
        PlatformError: the object store does not answer or refuses.
    """
    if not settings.sources.startswith(REMOTE):
        raise SpecError(f"sources are read from {settings.sources}; to upload, set PERENNIAL_BUCKET or PERENNIAL_SOURCES=s3://…")
    there = settings.state / "sources" if folder is None else folder
    files = sorted(there.glob("*.parquet"))
    if not files:
        raise NotFoundError(f"{there}: no *.parquet file is there; allowed: a folder of sources, named <source>.parquet")
    sizes: dict[str, dict[str, int]] = {}
    for file in files:
        with opened(str(file)) as source:
            sizes[file.stem] = {"rows": source.count_rows(), "columns": len(source.schema)}
    bucket = Bucket(settings.sources)
    for file in files:
        bucket.replace(file.name, file)
    if json:
        print_json(sizes)
        return
    rows = [(name, f"{size['rows']:,}", str(size["columns"])) for name, size in sizes.items()]
    console().print(table(f"Uploaded to {settings.sources}", ("source", "rows", "columns"), rows, numbers=("rows", "columns")))


def apply(settings: Settings, json: bool) -> None:
    """Apply the project's definitions and print what there is now."""
    applied = store.apply(settings)
    if json:
        named = {"entities": list(applied.entities), "views": list(applied.views), "services": list(applied.services)}
        print_json({**named, "note": applied.note})
        return
    rows = [
        ("entities", ", ".join(applied.entities)),
        ("views", ", ".join(applied.views)),
        ("services", ", ".join(applied.services)),
    ]
    console().print(table("Applied to the feature registry", ("kind", "names"), rows))
    if applied.note:
        console().print(applied.note)


def materialize(settings: Settings, start: datetime, end: datetime, json: bool) -> None:
    """Materialise (start, end] and print the rows written by view."""
    written = store.materialize(settings, start, end, _say_nothing if json else console().print)
    if json:
        print_json(written)
        return
    rows = [(view, f"{count:,}") for view, count in written.items()]
    console().print(
        table(f"Materialised ({start:%Y-%m-%d %H:%M}, {end:%Y-%m-%d %H:%M}]", ("view", "rows"), rows, numbers=("rows",))
    )


def _say_nothing(_: str) -> None:
    """No progress beside JSON."""
