"""A model file gives back the same model, and nothing else is ever read from one."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from perennial.data.rows import Rows
from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.spec.columns import Column
from perennial.training import model_file
from perennial.training.fitting import fit, predict
from perennial.training.recipe import Recipe

COLUMNS = tuple(
    Column(name=name, dtype=dtype, view=None)
    for name, dtype in [("x", "float"), ("flag", "bool"), ("origin", "string"), ("dest", "string"), ("empty", "float")]
)
RECIPES = [
    Recipe(kind=kind, parameters=parameters, columns=columns)
    for kind, parameters in [
        ("logistic", {"c": 0.1}),
        ("random_forest", {"trees": 4, "min_samples_leaf": 20, "max_features": 0.6, "rows": 1_000}),
        ("gradient_boosting", {"learning_rate": 0.1, "iterations": 8, "max_leaf_nodes": 7, "min_samples_leaf": 20, "l2": 1.0}),
    ]
    for columns in [("x", "flag", "origin", "dest", "empty"), ("flag", "x"), ("dest",)]
]


def matrix_of(count: int, seed: int) -> NDArray[np.object_]:
    """Missing numbers and strings; one rare category, and one that comes with odd seeds only; an all-missing column."""
    random = np.random.default_rng(seed)
    matrix = np.empty((count, len(COLUMNS)), dtype=object)
    matrix[:, 0] = np.where(random.random(count) < 0.1, np.nan, random.normal(size=count))
    matrix[:, 1] = np.where(random.random(count) < 0.3, np.nan, 1.0 * (random.random(count) < 0.5))
    matrix[:, 2] = random.choice(np.array(["EWR", "JFK", "rare", None], dtype=object), count, p=[0.5, 0.394, 0.006, 0.1])
    matrix[:, 3] = random.choice(np.array(["ü", "", "unseen" if seed % 2 else "LAX"], dtype=object), count)
    matrix[:, 4] = np.nan
    return matrix


@pytest.fixture(scope="module")
def rows() -> Rows:
    matrix = matrix_of(1_500, seed=0)
    random = np.random.default_rng(1)
    score = np.nan_to_num(matrix[:, 0].astype(float)) + 1.0 * (matrix[:, 2] == "JFK") + 1.0 * (matrix[:, 3] == "LAX")
    time = np.datetime64("2013-01-01", "us") + np.arange(1_500) * np.timedelta64(1, "h")
    return Rows(np.arange(1_500), matrix, random.random(1_500) < 1 / (1 + np.exp(1 - score)), time, time)


@pytest.fixture(scope="module", params=RECIPES, ids=lambda recipe: f"{recipe.kind}-{len(recipe.columns)}")
def fitted(request: pytest.FixtureRequest, rows: Rows) -> tuple[Recipe, Pipeline]:
    return request.param, fit(rows, request.param, COLUMNS, seed=0, threads=1)


@pytest.fixture(scope="module")
def content(rows: Rows) -> bytes:
    """A sound file of a boosting."""
    return bytes(skops.io.dumps(fit(rows, RECIPES[6], COLUMNS, seed=0, threads=1)))


def test_each_candidate_answers_alike_after_the_round_trip(fitted: tuple[Recipe, Pipeline], tmp_path: Path) -> None:
    recipe, model = fitted
    model_file.dump(model, tmp_path / "model.skops")
    loaded = model_file.load(tmp_path / "model.skops")
    for seed in (0, 1, 2):
        matrix = matrix_of(700, seed)
        before, after = (predict(one, matrix, COLUMNS, recipe) for one in (model, loaded))
        assert np.array_equal(before, after)


def test_a_file_holds_only_what_is_listed_and_everything_listed_is_used(rows: Rows) -> None:
    found = set()
    for recipe in RECIPES:
        with zipfile.ZipFile(io.BytesIO(skops.io.dumps(fit(rows, recipe, COLUMNS, seed=0, threads=1)))) as file:
            for part in model_file._parts(json.loads(file.read("schema.json"))):
                if "__loader__" in part:
                    found.add((str(part["__loader__"]), f"{part['__module__']}.{part['__class__']}"))
    assert found <= model_file.ALLOWED
    spare = {name for _, name in model_file.ALLOWED - found}
    assert all(re.fullmatch(r"(numpy|builtins)\.[a-z0-9]+", name) for name in spare), "a type is allowed that no model has"


def test_a_model_of_another_kind_is_not_written(tmp_path: Path) -> None:
    model = Pipeline([("columns", "passthrough"), ("model", LinearRegression())]).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(DataError, match=r"sklearn\.linear_model\._base\.LinearRegression"):
        model_file.dump(model, tmp_path / "model.skops")
    assert not (tmp_path / "model.skops").exists()


def test_a_bare_estimator_is_refused(tmp_path: Path) -> None:
    skops.io.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), tmp_path / "model.skops")
    with pytest.raises(DataError, match="holds a LogisticRegression; expected a pipeline"):
        model_file.load(tmp_path / "model.skops")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        model_file.load(tmp_path / "none.skops")
    with pytest.raises(PlatformError, match="cannot be read"):
        model_file.load(tmp_path)


def test_a_folder_that_is_not_there_is_said_at_writing(rows: Rows, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="cannot be written"):
        model_file.dump(fit(rows, RECIPES[0], COLUMNS, seed=0, threads=1), tmp_path / "none" / "model.skops")


class Trap:
    """Its unpickling leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "model.skops").write_bytes(pickle.dumps(Trap(trace)))
    with pytest.raises(DataError, match="not a model file of ours"):
        model_file.load(tmp_path / "model.skops")
    assert not trace.exists()


def test_an_empty_file_and_any_truncation_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    for length in (0, 1, 100, len(content) // 2, len(content) - 30, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"model\.skops: "):
            model_file.load(path)


def test_flipped_bytes_are_refused_or_change_nothing(content: bytes, rows: Rows, tmp_path: Path) -> None:
    path, recipe = tmp_path / "model.skops", RECIPES[6]
    path.write_bytes(content)
    expected = predict(model_file.load(path), rows.matrix, COLUMNS, recipe)
    random = np.random.default_rng(0)
    refused = 0
    for position in random.integers(0, len(content), 60):
        broken = bytearray(content)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        try:
            loaded = model_file.load(path)
        except DataError:
            refused += 1
        else:
            assert np.array_equal(predict(loaded, rows.matrix, COLUMNS, recipe), expected)
    assert refused > 50, "zip's checksums cover the entries"


def rewritten(
    content: bytes,
    schema: Callable[[str], str] = str,
    arrays: Callable[[str, bytes], bytes] = lambda _, array: array,
    **options: Any,
) -> bytes:
    """The file with its schema and arrays changed and sound checksums: a forgery."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", **options) as new:
        for name in old.namelist():
            entry = old.read(name)
            new.writestr(name, schema(entry.decode()) if name == "schema.json" else arrays(name, entry))
    return buffer.getvalue()


def refused(content: bytes, tmp_path: Path, match: str) -> None:
    path = tmp_path / "model.skops"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match):
        model_file.load(path)


def attack(kind: str, trace: Path) -> dict[str, Any]:
    """A schema that would call a function when read, shaped like those of skops' known holes."""
    text = {
        "__class__": "str",
        "__module__": "builtins",
        "__loader__": "JsonNode",
        "content": json.dumps(str(trace)),
        "is_json": True,
    }
    arguments = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": [text]}
    state = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "content": {}, "key_types": arguments}
    shapes: dict[str, dict[str, Any]] = {
        "function": {"__class__": "mkdir", "__module__": "os", "__loader__": "FunctionNode"},
        "type": {"__class__": "Popen", "__module__": "subprocess", "__loader__": "TypeNode"},
        "operator": {"__class__": "methodcaller", "__module__": "operator", "__loader__": "OperatorFuncNode", "attrs": arguments},
        "reduce": {
            "__class__": "mkdir",
            "__module__": "os",
            "__loader__": "ReduceNode",
            "__reduce__": {"args": arguments},
            "content": state,
        },
        "constructor": {"__class__": "mkdir", "__module__": "os", "__loader__": "LossNode", "__reduce__": {"args": arguments}},
        "mismatch": {"__class__": "mkdir", "__module__": "os", "__loader__": "ObjectNode", "content": state},
        "method": {
            "__class__": "Tree",
            "__module__": "sklearn.tree._tree",
            "__loader__": "MethodNode",
            "content": {"func": "__reduce__", "obj": state},
        },
    }
    return shapes[kind] | {"protocol": 2, "_skops_version": "0.16.0"}


@pytest.mark.parametrize("kind", ["function", "type", "operator", "reduce", "constructor", "mismatch", "method"])
def test_a_file_that_would_call_something_is_refused_by_name_and_calls_nothing(kind: str, tmp_path: Path) -> None:
    buffer, trace = io.BytesIO(), tmp_path / "trace"
    schema = attack(kind, trace)
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("schema.json", json.dumps(schema))
    refused(buffer.getvalue(), tmp_path, rf"{schema['__module__']}\.{schema['__class__']} \({schema['__loader__']}\)")
    assert not trace.exists()


def test_a_foreign_type_deep_inside_is_named_and_not_imported(content: bytes, tmp_path: Path) -> None:
    forged = rewritten(content, schema=lambda text: text.replace('"LabelEncoder"', '"Popen"', 1))
    refused(forged, tmp_path, r"sklearn\.preprocessing\._label\.Popen \(ObjectNode\)")
    forged = rewritten(content, schema=lambda text: text.replace('"sklearn.preprocessing._label"', '"antigravity"', 1))
    refused(forged, tmp_path, r"antigravity\.LabelEncoder \(ObjectNode\); it was not read")
    assert "antigravity" not in sys.modules


def test_another_scikit_learn_is_refused(content: bytes, tmp_path: Path) -> None:
    forged = rewritten(content, schema=lambda text: re.sub(r'\\"1\.9\.\d+\\"', r'\\"1.2.3\\"', text))
    refused(forged, tmp_path, 'written by scikit-learn "1.2.3"; this is ')


def test_what_could_unfold_is_refused_before_it_does(content: bytes, tmp_path: Path) -> None:
    bomb = rewritten(content, arrays=lambda _, __: bytes(5_000_000), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1_000_000
    refused(bomb, tmp_path, "compressed or overlapping entries")


def test_a_file_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "model.skops").open("wb") as file:
        file.truncate(model_file.MAX_FILE + 1)
    with pytest.raises(DataError, match="a model file has at most"):
        model_file.load(tmp_path / "model.skops")


def test_foreign_and_doubled_entries_are_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("../../evil.npy", "1.npz", "schema.json.bak"):
        buffer = io.BytesIO(content)
        with zipfile.ZipFile(buffer, "a") as file:
            file.writestr(name, b"")
        refused(buffer.getvalue(), tmp_path, re.escape(f"unexpected: ['{name}']"))
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("schema.json", b"{}")
    refused(buffer.getvalue(), tmp_path, "each once")


@pytest.mark.parametrize(
    "schema", ["", "[]", "{}", "nonsense", "[" * 100_000, '{"__loader__": null, "__class__": [], "__module__": 1}']
)
def test_a_schema_that_is_none_is_refused(content: bytes, schema: str, tmp_path: Path) -> None:
    refused(rewritten(content, schema=lambda _: schema), tmp_path, "model.skops: ")


def test_an_array_that_lies_about_its_size_or_holds_objects_is_refused(content: bytes, tmp_path: Path) -> None:
    lie = io.BytesIO()
    np.lib.format.write_array_header_1_0(lie, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    refused(rewritten(content, arrays=lambda _, __: lie.getvalue()), tmp_path, "where its header says 8000000000")
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    refused(rewritten(content, arrays=lambda _, __: objects.getvalue()), tmp_path, "only plain numbers are allowed")


@pytest.mark.parametrize(
    ("field", "value"), [("left", 0), ("right", 1_000_000), ("feature_idx", 77), ("feature_idx", -1), ("is_categorical", 1)]
)
def test_a_boosting_whose_trees_point_outside_is_refused(content: bytes, field: str, value: int, tmp_path: Path) -> None:
    def forge(_: str, array: bytes) -> bytes:
        nodes = np.load(io.BytesIO(array))
        if nodes.dtype.names is None or field not in nodes.dtype.names:
            return array
        nodes[field][nodes["is_leaf"] == 0] = value
        forged = io.BytesIO()
        np.save(forged, nodes)
        return forged.getvalue()

    refused(rewritten(content, arrays=forge), tmp_path, "points outside itself|splits on categories")


@pytest.mark.parametrize(("field", "value"), [("left_child", 0), ("right_child", 1_000_000), ("feature", 77)])
def test_a_forest_whose_trees_point_outside_is_refused(rows: Rows, field: str, value: int, tmp_path: Path) -> None:
    def forge(_: str, array: bytes) -> bytes:
        nodes = np.load(io.BytesIO(array))
        if nodes.dtype.names is None or field not in nodes.dtype.names:
            return array
        nodes[field][nodes["left_child"] != -1] = value
        forged = io.BytesIO()
        np.save(forged, nodes)
        return forged.getvalue()

    content = bytes(skops.io.dumps(fit(rows, RECIPES[3], COLUMNS, seed=0, threads=1)))
    refused(rewritten(content, arrays=forge), tmp_path, "points outside itself")


def test_the_model_answers_where_pandas_and_pyarrow_are_absent(rows: Rows, tmp_path: Path) -> None:
    recipe = RECIPES[6]
    model = fit(rows, recipe, COLUMNS, seed=0, threads=1)
    model_file.dump(model, tmp_path / "model.skops")
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "pyarrow"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from pathlib import Path
import numpy as np
from perennial.training import model_file
row = np.array([[0.5, 1.0, "JFK", None, float("nan")]], dtype=object)
print(repr(float(model_file.load(Path({str(tmp_path / "model.skops")!r})).predict_proba(row)[0, 1])))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    row = np.array([[0.5, 1.0, "JFK", None, np.nan]], dtype=object)
    assert float(run.stdout) == predict(model, row, COLUMNS, recipe)[0]
