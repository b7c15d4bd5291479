"""The import hook refuses by name, whatever tries, and notices when it comes too late."""

import subprocess
import sys

import pytest

from serving.runtime.refusal import REFUSED, Refusal


@pytest.mark.parametrize("name", [*REFUSED, "pandas.core.frame"])
def test_a_refused_name_is_not_found_and_says_why(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=f"{name} is refused in the serving process"):
        Refusal().find_spec(name, None)


@pytest.mark.parametrize("name", ["numpy", "sklearn", "pandas_like", "kfpx"])
def test_other_names_are_left_to_others(name: str) -> None:
    assert Refusal().find_spec(name, None) is None


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def test_installed_it_stops_imports_and_libraries_do_without() -> None:
    said = run(
        "from serving.runtime.refusal import install\n"
        "install(); install()\n"
        "try:\n    import pandas\nexcept ImportError as error:\n    print(error.name)\n"
        "import sklearn.utils.fixes, sys\n"
        "print([name for name in ('pandas', 'dask') if name in sys.modules])\n"
    )
    assert said.splitlines() == ["pandas", "[]"]


def test_it_does_not_come_too_late_unnoticed() -> None:
    said = run("import sys\nsys.modules['pandas'] = sys\nfrom serving.runtime.refusal import install\ninstall()\n")
    assert "pandas: loaded before the refusal was installed" in said
