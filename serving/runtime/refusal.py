"""The import hook of the serving process: what must never be loaded there cannot be, by whatever path.

scikit-learn takes pandas where it finds it, and one careless import brings Feast with half a gigabyte. Standard library only.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

REFUSED = (
    "dask",
    "evidently",
    "feast",
    "kfp",
    "kfp_kubernetes",
    "kfp_pipeline_spec",
    "kfp_server_api",
    "kserve",
    "kubernetes",
    "mlflow",
    "pandas",
    "pyarrow",
    "pytest",
)
"""Top-level names that the serving process never imports. dask and pytest come with no serving image, but where they are
installed scikit-learn imports them, and starts slower."""


class Refusal(MetaPathFinder):
    """Refuses `REFUSED` before any other finder is asked."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        """Nothing for other names.

        Raises:
            ModuleNotFoundError: the name is refused; libraries that can do without take it as not installed.
        """
        if fullname.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(
                f"{fullname} is refused in the serving process: it would start slower and grow larger for something that "
                "belongs to training, features or deployment (serving.runtime.refusal)",
                name=fullname,
            )
        return None


def install() -> None:
    """From here on `REFUSED` cannot be imported.

    Raises:
        ImportError: one of them was imported before.
    """
    modules = sorted({name.partition(".")[0] for name in sys.modules} & set(REFUSED))
    if modules:
        raise ImportError(f"{', '.join(modules)}: loaded before the refusal was installed; it must be the process's first import")
    if not any(isinstance(finder, Refusal) for finder in sys.meta_path):
        sys.meta_path.insert(0, Refusal())
