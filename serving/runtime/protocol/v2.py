"""The Open Inference Protocol, V2 over REST: named tensors in, named tensors out. Reading, writing and metadata only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from feature_repo.online_store.layout import Value
from serving.runtime.predictor import Prediction, Predictor
from serving.runtime.protocol.failure import RequestFailure, mistake
from serving.runtime.protocol.inputs import ACCEPTED, DATATYPES, Input, Inputs, Row
from serving.runtime.protocol.json_text import check_repeats, read_object, shown
from serving.runtime.protocol.v1 import MAX_ROWS

REQUEST = ("id", "parameters", "inputs", "outputs", "model_name")
"""The last is not in the protocol, but KServe's own client sends it; the path says which model is meant."""
TENSOR = ("name", "shape", "datatype", "parameters", "data")
OUTPUT = ("name", "parameters")
NO_BINARY = (
    "the binary tensor extension is not offered yet; send the values as JSON: binary_data=False in set_data_from_numpy (kserve, "
    "tritonclient), no binary_data parameter, and Content-Type application/json"
)
AGE = "feature_age_s:"
"""Begins the name of the output with the age of a view's observation."""
NO_AGE = -1.0
"""Age where nothing was found: JSON has no NaN, and typed clients do not read null as a number."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request."""

    id: str | None
    rows: list[Row]
    outputs: tuple[str, ...]
    """Outputs that are wanted, in order; all when empty."""


def read(body: bytes, inputs: Inputs, views: Sequence[str], time: float) -> Call:
    """The request in a body.

    Args:
        body: JSON.
        inputs: what the version needs.
        views: of the version, which name outputs.
        time: of the request, Unix seconds UTC.

    Raises:
        RequestFailure: the body is not such a request; names the place.
    """
    payload = read_object(body)
    _only(payload, REQUEST, "")
    identifier = payload.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise mistake("id", shown(identifier), "a string")
    pairs = len(payload) + _parameters(payload, "", ("binary_data_output",))
    tensors = payload.get("inputs")
    if not isinstance(tensors, list):
        finding = "missing" if tensors is None else f"found {shown(tensors)}"
        raise RequestFailure(400, f"inputs: {finding}; required: a list of tensors named {', '.join(inputs.names)}")
    columns: dict[str, list[Value]] = {}
    for index, tensor in enumerate(tensors):
        where = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise mistake(where, shown(tensor), "a tensor: an object with name, shape, datatype and data")
        item = _named(tensor, where, inputs.by_name, columns)
        where = f"{where} {item.name!r}"
        _only(tensor, TENSOR, where)
        pairs += len(tensor) + _parameters(tensor, where, ("binary_data_size", "binary_data"))
        columns[item.name] = _column(tensor, item, where)
    missing = [name for name in inputs.names if name not in columns]
    if missing:
        raise RequestFailure(400, f"inputs: no tensor {', '.join(map(repr, missing))}; required: {', '.join(inputs.names)}")
    outputs, more = _outputs(payload, views)
    check_repeats(body, pairs + more)
    return Call(identifier, _rows(columns, inputs, time), outputs)


def _rows(columns: dict[str, list[Value]], inputs: Inputs, time: float) -> list[Row]:
    lengths = {name: len(column) for name, column in columns.items()}
    rows = lengths[inputs.names[0]] if inputs.names else 0
    for name, length in lengths.items():
        if length != rows:
            raise RequestFailure(400, f"inputs {name!r}: {length} values, but {inputs.names[0]!r} has {rows}; all need as many")
    if not 1 <= rows <= MAX_ROWS:
        raise mistake("inputs", f"{rows} rows", f"1 to {MAX_ROWS}")
    values = list(zip(*[columns[name] for name in inputs.names], strict=True))
    identifiers = [None] * rows if inputs.id is None else columns.get(inputs.id.name, [None] * rows)
    return [inputs.row(row, time, identifier) for row, identifier in zip(values, identifiers, strict=True)]


def _named(tensor: dict[str, object], where: str, given: dict[str, Input], columns: dict[str, list[Value]]) -> Input:
    name = tensor.get("name")
    if not isinstance(name, str):
        finding = "missing" if name is None else f"found {shown(name)}"
        raise RequestFailure(400, f"{where}.name: {finding}; allowed: {', '.join(given)}")
    if name not in given:
        raise RequestFailure(400, f"{where}: unknown tensor {shown(name)}; allowed: {', '.join(given)}")
    if name in columns:
        raise RequestFailure(400, f"{where}: tensor {name!r} is given twice; allowed: once")
    return given[name]


def _column(tensor: dict[str, object], item: Input, where: str) -> list[Value]:
    """A tensor's values, checked."""
    datatype = tensor.get("datatype")
    if datatype not in ACCEPTED[item.kind]:
        finding = "missing" if datatype is None else f"found {shown(datatype)}"
        raise RequestFailure(400, f"{where}.datatype: {finding}; allowed: {', '.join(ACCEPTED[item.kind])}")
    shape, length = tensor.get("shape"), -1
    if isinstance(shape, list) and (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1 and type(shape[1]) is int)):
        length = shape[0] if type(shape[0]) is int else -1
    if length < 0:
        finding = "missing" if shape is None else f"found {orjson.dumps(shape).decode()[:60]}"
        raise RequestFailure(400, f"{where}.shape: {finding}; allowed: [n] or [n, 1]")
    data = tensor.get("data")
    if not isinstance(data, list):
        finding = "missing" if data is None else f"found {shown(data)}"
        raise RequestFailure(400, f"{where}.data: {finding}; required: a list of {length} values")
    if len(shape if isinstance(shape, list) else ()) == 2 and data and all(isinstance(v, list) and len(v) == 1 for v in data):
        data = [value[0] for value in data]
    if len(data) != length:
        raise RequestFailure(400, f"{where}.data: {len(data)} values, but the shape says {length}")
    return _checked(data, item, where)


def _checked(data: list[object], item: Input, where: str) -> list[Value]:
    check: Callable[[object], Value] = item.check
    try:
        return [check(value) for value in data]
    except ValueError:
        pass
    for index, value in enumerate(data):
        try:
            check(value)
        except ValueError as error:
            raise mistake(f"{where}.data[{index}]", shown(value), str(error)) from None
    raise AssertionError("a value that was refused passes")


def _only(found: dict[str, object], allowed: Sequence[str], where: str) -> None:
    for name in found:
        if name not in allowed:
            raise RequestFailure(400, f"{where}{': ' if where else ''}unknown name {shown(name)}; allowed: {', '.join(allowed)}")


def _parameters(owner: dict[str, object], where: str, binary: Sequence[str]) -> int:
    """How many parameters something has; unknown ones mean nothing to us.

    Raises:
        RequestFailure: they are no object, or ask for the binary extension.
    """
    parameters = owner.get("parameters")
    if parameters is None:
        return 0
    location = f"{where}.parameters" if where else "parameters"
    if not isinstance(parameters, dict):
        raise mistake(location, shown(parameters), "an object")
    for name in binary:
        if parameters.get(name):
            raise RequestFailure(400, f"{location}.{name}: {NO_BINARY}")
    return len(parameters)


def _outputs(payload: dict[str, object], views: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The wanted outputs, and how many pairs their objects have."""
    outputs, allowed_names = payload.get("outputs"), output_names(views)
    if outputs is None:
        return (), 0
    if not isinstance(outputs, list):
        raise mistake("outputs", shown(outputs), "a list of objects with a name")
    names: list[str] = []
    pairs = 0
    for index, output in enumerate(outputs):
        where = f"outputs[{index}]"
        if not isinstance(output, dict):
            raise mistake(where, shown(output), "an object with a name")
        _only(output, OUTPUT, where)
        name = output.get("name")
        if not isinstance(name, str) or name not in allowed_names:
            raise RequestFailure(400, f"{where}: unknown output {shown(name)}; allowed: {', '.join(allowed_names)}")
        if name in names:
            raise RequestFailure(400, f"{where}: output {name!r} is asked for twice; allowed: once")
        pairs += len(output) + _parameters(output, where, ("binary_data",))
        names.append(name)
    return tuple(names), pairs


def output_names(views: Sequence[str]) -> tuple[str, ...]:
    """Every output of a version with these views."""
    return ("probability", "decision", "prediction_id", *(AGE + view for view in views), "not_fresh")


def write(predictor: Predictor, call: Call, predictions: Sequence[Prediction]) -> bytes:
    """The answer.

    Raises:
        RequestFailure: a row was rejected; a tensor has no place for "no prediction".
    """
    for index, prediction in enumerate(predictions):
        if prediction.rejected:
            raise _rejected(predictor, index, prediction)
    rows = [prediction.row for prediction in predictions]
    columns: dict[str, tuple[str, list[object]]] = {
        "probability": ("FP64", [row.probability for row in rows]),
        "decision": ("BOOL", [row.decision for row in rows]),
        "prediction_id": ("BYTES", [row.prediction_id for row in rows]),
    }
    for view, ages in zip(predictor.views, zip(*[prediction.ages for prediction in predictions], strict=True), strict=True):
        columns[AGE + view] = ("FP64", [NO_AGE if age is None else age for age in ages])
    columns["not_fresh"] = ("BYTES", [",".join(f"{view}={why}" for view, why in row.stale.items()) for row in rows])
    answer: dict[str, object] = {"model_name": predictor.contract.model, "model_version": predictor.digest}
    if call.id is not None:
        answer["id"] = call.id
    answer["outputs"] = [
        {"name": name, "shape": [len(rows)], "datatype": columns[name][0], "data": columns[name][1]}
        for name in (call.outputs or columns)
    ]
    return orjson.dumps(answer)


def _rejected(predictor: Predictor, place: int, prediction: Prediction) -> RequestFailure:
    limits = {view.view: view.max_age_hours for view in predictor.plan.views}
    reasons = []
    for view in prediction.rejected:
        age = prediction.ages[predictor.views.index(view)]
        finding = "cannot be read (stale layout)" if age is None else f"was observed {age / 3600:.2f} h before the request"
        reasons.append(f"view {view!r} {finding}, at most {limits[view]:g} h are allowed (on_stale: reject)")
    return RequestFailure(503, f"row {place}: no prediction: {'; '.join(reasons)}")


def metadata(predictor: Predictor) -> dict[str, object]:
    """What a version takes and gives."""
    types = {"probability": "FP64", "decision": "BOOL", "prediction_id": "BYTES", "not_fresh": "BYTES"}
    optional = {predictor.inputs.id: {"parameters": {"optional": True}}}
    return {
        "name": predictor.contract.model,
        "versions": [predictor.digest],
        "platform": "perennial_scikit-learn",
        "inputs": [
            {"name": item.name, "datatype": DATATYPES[item.kind], "shape": [-1], **optional.get(item, {})}
            for item in predictor.inputs.by_name.values()
        ],
        "outputs": [{"name": name, "datatype": types.get(name, "FP64"), "shape": [-1]} for name in output_names(predictor.views)],
    }
