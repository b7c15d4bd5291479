"""KServe's V1 protocol: `{"instances": [{key: value}]}` in, `{"predictions": [{...}]}` out. Reading and writing only."""

from collections.abc import Sequence

import orjson

from serving.runtime.predictor import Prediction, Predictor
from serving.runtime.protocol.failure import RequestFailure, mistake
from serving.runtime.protocol.inputs import Inputs, Row
from serving.runtime.protocol.json_text import check_repeats, read_object, shown

MAX_ROWS = 10_000
"""Most rows of one request: they are answered together and hold the others up for a fraction of a second."""


def read(body: bytes, inputs: Inputs, time: float) -> list[Row]:
    """The rows of a request.

    Args:
        body: JSON.
        inputs: what the version needs.
        time: of the request, Unix seconds UTC.

    Raises:
        RequestFailure: the body is not such a request; names the place.
    """
    payload = read_object(body)
    if "instances" not in payload:
        raise RequestFailure(400, f"instances: missing; required: a list of objects with {', '.join(inputs.names)}")
    instances = payload["instances"]
    unknown = [name for name in payload if name != "instances"]
    if unknown:
        raise RequestFailure(400, f"unknown name {shown(unknown[0])}; allowed: instances")
    if not isinstance(instances, list):
        raise mistake("instances", shown(instances), "a list of objects")
    if not 1 <= len(instances) <= MAX_ROWS:
        raise mistake("instances", f"{len(instances)} rows", f"1 to {MAX_ROWS}")
    rows = [inputs.read(instance, index, time) for index, instance in enumerate(instances)]
    check_repeats(body, 1 + sum(map(len, instances)))
    return rows


def write(predictor: Predictor, predictions: Sequence[Prediction]) -> bytes:
    """The answer. A row that was rejected has no probability and names the views in `rejected`."""
    return orjson.dumps(
        {
            "predictions": [_shown(predictor, prediction) for prediction in predictions],
            "model_name": predictor.contract.model,
            "model_version": predictor.digest,
        }
    )


def _shown(predictor: Predictor, prediction: Prediction) -> dict[str, object]:
    row = prediction.row
    shown: dict[str, object] = {
        "probability": row.probability,
        "decision": row.decision,
        "prediction_id": row.prediction_id,
        "feature_age_s": dict(zip(predictor.views, prediction.ages, strict=True)),
        "not_fresh": row.stale,
    }
    if prediction.rejected:
        shown["rejected"] = prediction.rejected
    return shown
