"""A second project, written into a folder: `examples/chargeback`, another domain with two join keys and a rare label.

Its folders carry the names of ours, with modules that fail when they are imported: a project is loaded by path, never by name.
"""

from datetime import datetime, timedelta
from pathlib import Path

from examples.chargeback import sources

NAME = "chargeback"
FIRST_DAY, DAYS = sources.FIRST_DAY, sources.DAYS
NOW = FIRST_DAY + timedelta(days=DAYS + 3)
"""All labels of the hundred days have matured."""

TRAINED = FIRST_DAY + timedelta(days=73)
"""Time of a first training: the labels of seventy days have matured."""

ODD = "it's [a]* 50% #1? amount=7 ü"
"""Name of a folder for the project: a test in it shows that no sign of its path means anything to a library."""

EXAMPLE = (sources.FOLDER / "models" / "chargeback.yaml").read_text(encoding="utf-8")
SPEC = EXAMPLE.replace("max_age_hours: 2400", "max_age_hours: 720")
"""Of the example, but that an order grows old within a month: the tests want stale rows."""
DEFINITIONS = (sources.FOLDER / "feature_repo" / "definitions" / "payments.py").read_text(encoding="utf-8")
SAME_NAMES = ("perennial", "feature_repo", "components", "pipelines", "console", "monitoring", "serving")


def write_project(folder: Path, seed: int = 7, per_day: int = 130, first_day: datetime = FIRST_DAY) -> Path:
    """Write the project with its sources (below `.perennial/sources`); returns the folder."""
    for name in SAME_NAMES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "__init__.py").write_text(f'raise ImportError("the project\'s own {name} was imported by name")\n')
    (folder / "models").mkdir()
    (folder / "models" / "chargeback.yaml").write_text(SPEC)
    (folder / "feature_repo" / "definitions").mkdir()
    (folder / "feature_repo" / "definitions" / "payments.py").write_text(DEFINITIONS)
    sources.write(folder / ".perennial" / "sources", seed, per_day, first_day)
    return folder
