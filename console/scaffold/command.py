"""`perennial init`: a table becomes a project, and the commands to a first answer are printed."""

import json as as_json
import re
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from console.display.output import console, print_json
from console.scaffold import sample
from console.scaffold.roles import Roles
from console.scaffold.sizes import Sizes, sizes
from console.scaffold.split import Split, split
from console.scaffold.table import read_table
from console.scaffold.texts import REPLACE, definitions_text, service_of, spec_text
from perennial.errors import PlatformError, SpecError
from perennial.settings import Settings
from perennial.spec.model import Metadata
from perennial.spec.read import read_text
from perennial.spec.shape import matching

REMOTE = "s3://"
MINUTE, RESOLUTION = timedelta(minutes=1), timedelta(microseconds=1)
"""Printed times are whole minutes, rounded up: the newest row lies before the end."""
PORT = 8080
LEAK = (
    "Each feature counts as known at its row's own time. Where a value was filled in or corrected later, the model learns from "
    "the future and looks too good: make it again with --leave-out."
)


@dataclass(frozen=True)
class Begun:
    """Files of a project to be, by path, and what its owner is told."""

    texts: dict[Path, str]
    tables: dict[Path, pa.Table]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def begin_and_show(settings: Settings, model: str, source: Path | None, roles: Roles | None, now: datetime, json: bool) -> None:
    """Write spec, definitions and sources of a first model into the project; print what to type next.

    Args:
        settings: where the project is.
        model: name of the model.
        source: the table; None makes one up.
        roles: what the table's columns are; None where it is made up.
        now: the real time.
        json: as JSON instead of text.

    Raises:
        SpecError: a name cannot be, or a file is there already; nothing was written.
        DataError: the table cannot be a first model's.
        NotFoundError: there is no such table.
        PlatformError: a file cannot be read or written.
    """
    check_model_name(model)
    if source is None or roles is None:
        where, table, roles = settings.project / sample.FILE, sample.made_up(now), sample.ROLES
        if where.exists():
            raise SpecError(
                f"{where}: is there already, and init overwrites nothing; allowed: --from {sample.FILE} with --key, --time and "
                "--label, or a folder without it for a made-up table"
            )
        project = begin(settings, model, (where, table), roles, now)
        project.tables[where] = table
    else:
        project = begin(settings, model, (source, read_table(source)), roles, now)
    write(project)
    if json:
        files = [str(path) for path in (*project.texts, *project.tables)]
        print_json({"files": files, "notes": list(project.notes), "next": list(project.commands)})
        return
    out = console()
    for path in (*project.texts, *project.tables):
        out.print(f"wrote {path}", soft_wrap=True)
    for note in project.notes:
        out.print(f"note: {note}", soft_wrap=True)
    out.print("\nNext:")
    for command in project.commands:
        out.print(f"  {command}", soft_wrap=True)


def check_model_name(model: str) -> None:
    """A model may be called so.

    Raises:
        SpecError: it may not.
    """
    field = Metadata.model_fields["name"]
    pattern = next(str(part.pattern) for part in field.metadata if getattr(part, "pattern", None))
    if not re.search(pattern, model):
        near = matching(model, field)
        hint = f"; did you mean {near!r}?" if near else ""
        raise SpecError(f"{model!r} is no name for a model; allowed: lower-case letters, digits and dashes, at most 63{hint}")


def begin(settings: Settings, model: str, given: tuple[Path, pa.Table], roles: Roles, now: datetime) -> Begun:
    """The files of a first model, and what to type next; nothing is written.

    Args:
        settings: where the project is.
        model: name of the model.
        given: the table's file, and the table.
        roles: what its columns are.
        now: the real time.

    Raises:
        SpecError: a file is there already, or a role names a wrong column.
        DataError: the table cannot be a first model's.
    """
    path, table = given
    folder = settings.state / "sources" if settings.sources.startswith(REMOTE) else Path(settings.sources)
    spec, definitions = settings.models / f"{model}.yaml", settings.definitions / f"{service_of(model)}.py"
    refuse_existing([spec, definitions, *(folder / f"{name}.parquet" for name in ("requests", "labels"))])
    split_table = split(str(path), table, roles, now)
    size = sizes(str(path), split_table, roles.label_hours, now)
    text = spec_text(model, path.name, roles, split_table, size)
    read_text(text, str(spec))
    sources = {"requests": split_table.requests, "labels": split_table.labels, split_table.view: split_table.features}
    refuse_existing([folder / f"{split_table.view}.parquet"])
    return Begun(
        texts={spec: text, definitions: definitions_text(model, roles, split_table)},
        tables={folder / f"{name}.parquet": source for name, source in sources.items()},
        notes=(*split_table.notes, f"{spec.name} marks with {REPLACE} what only you can know: the utility above all.", LEAK),
        commands=commands(settings, model, roles, split_table, size),
    )


def refuse_existing(paths: list[Path]) -> None:
    """None of the files is there.

    Raises:
        SpecError: one is.
    """
    for path in paths:
        if path.exists():
            raise SpecError(
                f"{path}: is there already, and init overwrites nothing; allowed: a project folder without it; move it away, or "
                "name another folder by PERENNIAL_PROJECT"
            )


def commands(settings: Settings, model: str, roles: Roles, found: Split, size: Sizes) -> tuple[str, ...]:
    """What leads from the files to an answer, in a shell; the last line asks for what the newest row says."""
    newest = found.requests.slice(found.requests.num_rows - 1).to_pylist()[0]
    body = as_json.dumps(
        {"instances": [{name: newest[name] for name in (*roles.keys, *roles.request_fields)}]}, ensure_ascii=False
    )
    start, end = (f"{moment:%Y-%m-%dT%H:%MZ}" for moment in (size.start, size.now + MINUTE - RESOLUTION))
    upload = ("perennial features upload",) if settings.sources.startswith(REMOTE) else ()
    return (
        f"perennial validate {model}",
        *upload,
        "perennial features apply",
        f"perennial features materialize --start {start} --end {end}",
        f"perennial train {model}" + ("" if size.is_current else f" --now {end}"),
        f"perennial serve {model} --port {PORT} &",
        f"curl -s --retry 30 --retry-connrefused http://127.0.0.1:{PORT}/v1/models/{model}:predict "
        f"-H 'Content-Type: application/json' -d {shlex.quote(body)}",
    )


def write(begun: Begun) -> None:
    """Write the files, none over another.

    Raises:
        SpecError: a file is there already.
        PlatformError: a folder or a file cannot be written.
    """
    refuse_existing([*begun.texts, *begun.tables])
    try:
        for path, table in begun.tables.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            pa.parquet.write_table(table, path, coerce_timestamps="us")
        for path, text in begun.texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlatformError(f"{error.filename or 'the project'}: cannot be written: {error.strerror or error}") from error
