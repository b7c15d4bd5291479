"""Where the Parquet sources are: one file each, `<name>.parquet`, in the sources' folder of the settings.

Definitions ask `path`. Whether the files can be used is decided in `source_checks`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from perennial.settings import Settings

TIME = "event_timestamp"
"""Column of every source: the time from which serving can read the row."""

_loading: ContextVar[Settings | None] = ContextVar("settings", default=None)


def path(name: str) -> str:
    """Path of the source `name`, as a definition gives it to Feast's `FileSource`.

    While Perennial loads the definitions, the folder is that of its settings. Under Feast's own command line it is that of the
    environment; in the folder of `feature_store.yaml` the project is the folder above.
    """
    settings = _loading.get()
    if settings is None:
        environment = dict(os.environ)
        if Path("feature_store.yaml").is_file():
            environment.setdefault("PERENNIAL_PROJECT", str(Path.cwd().parent))
        settings = Settings.from_environment(environment)
        # Feast opens its registry next, and SQLite makes no folders: `feast plan` would fail in a fresh clone.
        Path(settings.online_store).parent.mkdir(parents=True, exist_ok=True)
    return str(source_path(settings, name))


def source_path(settings: Settings, name: str) -> Path:
    """Path of the source `name`."""
    return settings.sources / f"{name}.parquet"


@contextmanager
def sources_of(settings: Settings) -> Iterator[None]:
    """Inside, `path` answers for these settings."""
    token = _loading.set(settings)
    try:
        yield
    finally:
        _loading.reset(token)
