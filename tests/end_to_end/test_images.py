"""What both images hold and allow, asked in pods that run them."""

import json
from typing import Any

import pytest

from tests.end_to_end.conftest import Story
from tests.second_project import NAME

pytestmark = pytest.mark.cluster

USER = 10001
ELSEWHERE = {"feast", "kubernetes", "mlflow", "pandas", "pyarrow"}
"""Names that the steps image has and the serving process refuses."""

ASK = """
import errno, json, os, subprocess, sys
from importlib.metadata import distributions
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from serving.runtime.refusal import REFUSED

def written(folder):
    try:
        (Path(folder) / "written").write_text("x")
    except OSError as error:
        return errno.errorcode[error.errno]
    (Path(folder) / "written").unlink()
    return "written"

code = Path("/opt/code")
modules = [str(path) for path in code.rglob("*.py")]
listed = json.loads((code / "sbom.json").read_text())
pip = subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, text=True)
print(json.dumps({
    "user": [os.getuid(), os.getgid()],
    "written": {folder: written(folder) for folder in ("/", "/opt/code", "/opt/perennial", "/usr", "/tmp")},
    "python": sys.prefix,
    "pip": {"code": pip.returncode, "said": pip.stderr, "found": find_spec("pip") is not None},
    "ours": find_spec("perennial").origin,
    "modules": len(modules),
    "not compiled": [path for path in modules if not Path(cache_from_source(path)).exists()],
    "format": listed["bomFormat"],
    "listed": sorted((each["name"], each["version"]) for each in listed["components"]),
    "installed": sorted((each.metadata["Name"], each.version) for each in distributions()),
    "refused": [name for name in REFUSED if find_spec(name) is not None],
}))
"""


@pytest.fixture(scope="module", params=["serving", "steps"])
def image(request: pytest.FixtureRequest, story: Story) -> tuple[str, dict[str, Any]]:
    """An image's name and what Python in it says."""
    where = story.installation
    pod, container = {
        "serving": (where.serving_pods(NAME)[0]["metadata"]["name"], "kserve-container"),
        "steps": ("operator", "main"),
    }[request.param]
    said = where.kubectl("exec", "-i", pod, "-c", container, "--", "python", "-", given=ASK)
    return request.param, json.loads(said.splitlines()[-1])


def test_it_runs_as_nobody_of_importance_on_a_read_only_file_system(image: tuple[str, dict[str, Any]]) -> None:
    _, said = image
    assert said["user"] == [USER, USER]
    assert said["written"] == dict.fromkeys(("/", "/opt/code", "/opt/perennial", "/usr"), "EROFS") | {"/tmp": "written"}


def test_its_python_has_no_pip(image: tuple[str, dict[str, Any]]) -> None:
    _, said = image
    assert said["python"] == "/opt/perennial"
    assert (said["pip"]["found"], said["pip"]["code"]) == (False, 1)
    assert "No module named pip" in said["pip"]["said"]


def test_every_module_of_ours_is_compiled(image: tuple[str, dict[str, Any]]) -> None:
    _, said = image
    assert said["ours"] == "/opt/code/perennial/__init__.py"
    assert said["modules"] > 100
    assert said["not compiled"] == []


def test_its_list_of_parts_names_what_is_installed(image: tuple[str, dict[str, Any]]) -> None:
    name, said = image
    assert said["format"] == "CycloneDX"
    assert said["listed"] == said["installed"]
    names = {listed for listed, _ in said["listed"]}
    assert {"perennial", "scikit-learn", "obstore"} <= names
    assert ("mlflow" in names) is (name == "steps")


def test_what_the_serving_process_refuses_is_not_in_its_image(image: tuple[str, dict[str, Any]]) -> None:
    name, said = image
    if name == "serving":
        assert said["refused"] == []
    else:
        assert set(said["refused"]) >= ELSEWHERE, "else nothing would be found anywhere"
