"""The contract: what a model version needs and promises, stored beside its model file."""

from typing import Literal

from perennial.data.read_plan import ReadPlan
from perennial.evaluation.calibration import Calibrator
from perennial.record import Record
from perennial.spec.columns import Column
from perennial.spec.features import Freshness
from perennial.training.recipe import Recipe


class Contract(Record):
    """What a version needs to answer, and what it was made from."""

    format_version: Literal[1] = 1
    """Version of this format."""
    model: str
    """Name of the model."""
    run_key: str
    """Digests of spec, definitions, dataset, code and seed, hashed together."""
    service: str
    """Feast feature service that it reads."""
    service_digest: str
    """SHA-256 of the service's views, fields and types; serving refuses another."""
    join_keys: tuple[str, ...]
    """Join keys that a request brings, in order."""
    columns: tuple[Column, ...]
    """What the model sees, in order."""
    freshness: tuple[Freshness, ...]
    """Limits by view, and what happens beyond them."""
    recipe: Recipe
    """How it was fitted."""
    calibrator: Calibrator
    """Applied to the model's probability."""
    threshold: float
    """Decide *positive* from this calibrated probability on."""
    dataset: str
    """Digest of the dataset."""
    trained_from: str
    """Begin of the training rows, ISO 8601 UTC."""
    trained_until: str
    """End of the training rows, exclusive."""
    seed: int
    """Seed of the fit."""
    plan: ReadPlan | None = None
    """How its features are looked up online; null in a version that was registered without one, which cannot be served."""
    log_required: bool = False
    """Whether an answer is refused when its row cannot be logged."""
    id_column: str = ""
    """Name under which a request may carry its own id, by which its label is found later; empty in versions that know none."""
    id_kind: Literal["string", "int64"] = "string"
    """Type of that id."""
