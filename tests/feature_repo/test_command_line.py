"""The folder is an ordinary Feast repository: Feast's own command line works in it, on the same configuration."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from feature_repo import store
from feature_repo.store import configuration
from perennial.settings import Settings

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ROOT = Path(__file__).parents[2]


def test_the_file_says_what_the_default_settings_make() -> None:
    said = yaml.safe_load((ROOT / "feature_repo" / "feature_store.yaml").read_text(encoding="utf-8"))
    folder = ROOT / "feature_repo"

    def absolute(path: str) -> str:
        return os.path.normpath(folder / path)

    said["registry"]["path"] = "sqlite:///" + absolute(said["registry"]["path"].removeprefix("sqlite:///"))
    said["online_store"]["path"] = absolute(said["online_store"]["path"])
    made = configuration(Settings.from_environment({"PERENNIAL_PROJECT": str(ROOT)}))
    config = {
        "project": made.project,
        "provider": made.provider,
        "registry": {"registry_type": made.registry.registry_type, "path": made.registry.path},
        "offline_store": made.offline_store.model_dump(),
        "online_store": made.online_store.model_dump(),
        "materialization": made.materialization_config.model_dump(include=set(said["materialization"])),
        "entity_key_serialization_version": made.entity_key_serialization_version,
    }
    assert said == config


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the folder in a project without state, as in a fresh clone."""
    project = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "feature_repo", project / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    return project / "feature_repo"


def feast(repository: Path, *arguments: str) -> str:
    """What `feast` prints in the folder."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")}
    command = [str(Path(sys.executable).parent / "feast"), *arguments]
    safe = {"PYTHONSAFEPATH": "1"}
    found = subprocess.run(command, cwd=repository, env=environment | safe, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_feast_plans_in_a_fresh_clone_and_lists_what_we_applied(repository: Path) -> None:
    planned = feast(repository, "plan")
    for name in ("view weather", "view plane", "view carrier", "view route", "service flight_delay", "entity tailnum"):
        assert f"Created feature {name}" in planned or f"Created {name}" in planned
    assert planned.count("Created") == 1 + 4 + 4 + 1, "nothing of our own code is taken for a definition"
    store.apply(Settings.from_environment({"PERENNIAL_PROJECT": str(repository.parent)}))
    listed = feast(repository, "feature-views", "list")
    assert all(view in listed for view in ("weather", "plane", "carrier", "route"))
    assert (repository.parent / ".perennial" / "feast" / "online.db").is_file()
