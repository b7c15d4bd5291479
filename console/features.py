"""`perennial features`: definitions to the registry, values to the online store."""

from datetime import datetime

from console.output import console, print_json, table
from feature_repo import store
from perennial.settings import Settings


def apply(settings: Settings, json: bool) -> None:
    """Apply the project's definitions and print what there is now."""
    applied = store.apply(settings)
    if json:
        print_json({"entities": list(applied.entities), "views": list(applied.views), "services": list(applied.services)})
        return
    rows = [
        ("entities", ", ".join(applied.entities)),
        ("views", ", ".join(applied.views)),
        ("services", ", ".join(applied.services)),
    ]
    console().print(table("Applied to the feature registry", ("kind", "names"), rows))


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
