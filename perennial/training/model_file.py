"""The model file: a fitted pipeline as skops, read back only if it holds nothing but what we wrote.

Here: writing, and reading with a fixed list of types; never a pickle, and never the list that a file asks for. A file is checked
before any object of it is made: its size, its entries, the shape of its arrays, every type in it. Not here: digests of files
(version) and what the columns mean (contract).
"""

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sklearn
import skops.io
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import Pipeline

from perennial.errors import DataError, NotFoundError, PlatformError

MAX_FILE = 512 * 2**20
"""Most bytes of a model file. A forest of 60 trees has a few million."""

MAX_ENTRIES = 20_000
"""Most arrays in a model file. A boosting of 1000 trees has some 4000."""

TRUSTED = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)
"""What skops does not trust by itself and our candidates need. The trees are checked here: skops checks types, not indices."""

ALLOWED: frozenset[tuple[str, str]] = frozenset(
    [
        ("DTypeNode", "numpy.dtype"),
        ("DictNode", "builtins.dict"),
        ("JsonNode", "builtins.str"),
        ("ListNode", "builtins.list"),
        ("LossNode", "sklearn._loss._loss.CyHalfBinomialLoss"),
        *(("NdArrayNode", f"numpy.{name}") for name in ("ndarray", "bool", "float32", "float64", "int32", "int64", "uint64")),
        *(
            ("ObjectNode", f"sklearn.{name}")
            for name in (
                "_loss.link.Interval",
                "_loss.link.LogitLink",
                "_loss.loss.HalfBinomialLoss",
                "compose._column_transformer.ColumnTransformer",
                "ensemble._forest.RandomForestClassifier",
                "ensemble._hist_gradient_boosting.binning._BinMapper",
                "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
                "ensemble._hist_gradient_boosting.predictor.TreePredictor",
                "impute._base.MissingIndicator",
                "impute._base.SimpleImputer",
                "linear_model._logistic.LogisticRegression",
                "pipeline.Pipeline",
                "preprocessing._data.StandardScaler",
                "preprocessing._encoders.OneHotEncoder",
                "preprocessing._encoders.OrdinalEncoder",
                "preprocessing._function_transformer.FunctionTransformer",
                "preprocessing._label.LabelEncoder",
                "tree._classes.DecisionTreeClassifier",
            )
        ),
        ("RandomGeneratorNode", "numpy.random._generator.Generator"),
        ("SliceNode", "builtins.slice"),
        ("TreeNode", "sklearn.tree._tree.Tree"),
        ("TupleNode", "builtins.tuple"),
        *(("TypeNode", f"builtins.{name}") for name in ("bool", "float", "int", "str")),
        ("TypeNode", "numpy.float64"),
    ]
)
"""Everything that a file of ours holds: how skops reads it, and its type."""


def dump(model: Pipeline, path: Path) -> None:
    """Write a fitted pipeline to `path`, after reading it back: a file that `load` would refuse is never left behind.

    The bytes differ at each dump of the same model; its predictions do not.

    Raises:
        DataError: the model holds a type that is not allowed.
        PlatformError: the file cannot be written.
    """
    content = skops.io.dumps(model)
    _read(content, str(path))
    try:
        path.write_bytes(content)
    except OSError as error:
        raise PlatformError(f"{path}: cannot be written: {error.strerror}; make the folder writable or free space") from error


def load(path: Path) -> Pipeline:
    """The pipeline stored at `path`.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is too large, broken, holds types that are not allowed, or was written by another scikit-learn.
        PlatformError: the file cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise DataError(f"{path}: {size:,} bytes; a model file has at most {MAX_FILE:,}")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file; expected a model file") from error
    except OSError as error:
        raise PlatformError(f"{path}: cannot be read: {error.strerror}") from error
    return _read(content, str(path))


def _read(content: bytes, where: str) -> Pipeline:
    """The pipeline in a file's bytes, checked first."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            schema = _checked_schema(file, len(content), where)
            _check_types(schema, where)
        model = skops.io.loads(content, trusted=TRUSTED)
        _check_model(model, where)
    except DataError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a broken file makes zipfile, json, numpy, skops and scikit-learn fail in any way
        raise DataError(
            f"{where}: not a model file of ours ({type(error).__name__}: {error}); restore it from its version or train again"
        ) from error
    return model


def _checked_schema(file: zipfile.ZipFile, size: int, where: str) -> object:
    """The file's schema, once every entry is known to be small, whole and an array or the schema."""
    entries = file.infolist()
    names = [entry.filename for entry in entries]
    foreign = [name for name in names if name != "schema.json" and not re.fullmatch(r"[0-9]{1,20}\.npy", name)]
    if foreign or len(set(names)) != len(names) or len(names) > MAX_ENTRIES:
        raise DataError(f"{where}: {len(names)} entries, unexpected: {foreign[:3]}; allowed: schema.json and arrays, each once")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or sum(entry.file_size for entry in entries) > size:
        raise DataError(f"{where}: compressed or overlapping entries; ours are stored as they are, none can unfold")
    for name in names:
        if name != "schema.json":
            _check_array(file.read(name), f"{where}: {name}")
    return json.loads(file.read("schema.json"))


def _check_array(content: bytes, where: str) -> None:
    """The array's header tells the truth about its length, and it holds no objects."""
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise DataError(f"{where}: an array of another format version than 1.0")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject or any(length < 0 for length in shape):
        raise DataError(f"{where}: an array of type {dtype} and shape {shape}; only plain numbers are allowed")
    expected = stream.tell() + math.prod(shape) * dtype.itemsize
    if expected != len(content):
        raise DataError(f"{where}: {len(content)} bytes where its header says {expected}")


def _check_types(schema: object, where: str) -> None:
    """Every object in the schema is of an allowed type, and was written by the scikit-learn that is here."""
    if not isinstance(schema, dict):
        raise DataError(f"{where}: its schema is {type(schema).__name__}; expected an object")
    foreign: set[str] = set()
    for part in _parts(schema):
        if "__loader__" in part or "__class__" in part or "__module__" in part:
            kind = str(part.get("__loader__"))
            name = f"{part.get('__module__')}.{part.get('__class__')}"
            if (kind, name) not in ALLOWED:
                foreign.add(f"{name} ({kind})")
        version = part.get("_sklearn_version")
        if isinstance(version, dict) and version.get("content") != json.dumps(sklearn.__version__):
            raise DataError(
                f"{where}: written by scikit-learn {version.get('content')}; this is {sklearn.__version__}, which may answer "
                f"otherwise: install that version or train again"
            )
    if foreign:
        raise DataError(f"{where}: holds types that no model of ours has: {', '.join(sorted(foreign))}; it was not read")


def _parts(schema: dict[str, object]) -> Iterator[dict[str, object]]:
    """Every object in a schema, without recursion: the file decides how deep it is."""
    waiting: list[object] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)


def _check_model(model: object, where: str) -> None:
    """It is a fitted pipeline of ours, and its trees point at their own nodes and features only.

    scikit-learn follows the numbers in a tree without looking: a wrong one reads foreign memory or never ends.
    """
    if not isinstance(model, Pipeline) or [name for name, _ in model.steps] != ["columns", "model"]:
        raise DataError(f"{where}: holds a {type(model).__name__}; expected a pipeline with the steps columns and model")
    last = model.steps[-1][1]
    width = int(last.n_features_in_)
    if isinstance(last, RandomForestClassifier):
        for tree in (estimator.tree_ for estimator in last.estimators_):
            inner = tree.children_left != -1
            _check_tree(tree.children_left, tree.children_right, tree.feature, inner, width, where)
    if isinstance(last, HistGradientBoostingClassifier):
        for nodes in (predictor.nodes for stage in last._predictors for predictor in stage):
            if nodes["is_categorical"].any():
                raise DataError(f"{where}: a tree splits on categories; ours do not")
            left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
            _check_tree(left, right, nodes["feature_idx"], nodes["is_leaf"] == 0, width, where)


def _check_tree(left: np.ndarray, right: np.ndarray, feature: np.ndarray, inner: np.ndarray, width: int, where: str) -> None:
    """Children come after their parent (so a walk ends) and exist; features exist."""
    parents, count = np.arange(len(left)), len(left)
    sound = all(((child > parents) & (child < count))[inner].all() for child in (left, right))
    if count == 0 or not sound or not ((feature >= 0) & (feature < width))[inner].all():
        raise DataError(f"{where}: a tree points outside itself; the file is broken or forged: restore it or train again")
