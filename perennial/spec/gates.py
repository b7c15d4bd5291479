"""What a trained candidate must pass before it is registered."""

from pydantic import Field, model_validator

from perennial.spec.part import Breach, Part, refuse, repeated


class NonInferiority(Part):
    """The challenger may not be worse than the champion by more than a margin, and its utility must be higher."""

    log_loss_margin: float = Field(0.02, gt=0)
    """Largest relative increase of the log loss. 2 % by default: a month of days can see this much."""
    auc_margin: float = Field(0.01, gt=0)
    """Largest decrease of the AUC. .01 by default: a month of days can see this much."""
    min_days: int = Field(14, ge=7)
    """Fewest days of a block that begins after both training ends; with fewer, both recipes are compared on rolling origins.
    14 by default: two whole weeks."""


class SegmentsGate(Part):
    """No group of an objective's segment may be shown to suffer."""

    min_rows: int = Field(500, ge=50)
    """Fewest labelled rows of a group that is judged. 500 by default."""
    min_days: int = Field(14, ge=7)
    """Fewest days on which the group occurs. 14 by default: fewer make no interval."""
    log_loss_margin: float = Field(0.05, gt=0)
    """Relative increase of the log loss, against the champion (else the baseline), that counts as harm. 5 % by default:
    groups are small, and less cannot be seen."""


class CalibrationGate(Part):
    """Mean probability and label rate must agree on the evaluation block."""

    max_gap: float = Field(0.05, gt=0, lt=1)
    """Largest |mean probability - label rate|, on the bound of its interval. .05 by default."""


class DataGate(Part):
    """The dataset must be fit for training."""

    min_rows: int = Field(1_000, ge=100)
    """Fewest labelled rows of the training part. 1,000 by default."""
    max_null_share: float = Field(0.9, gt=0, le=1)
    """Largest share of missing values of a column. 0.9 by default: a column that is nearly gone is broken, not sparse."""
    max_unlabelled_share: float = Field(0.2, gt=0, le=1)
    """Largest share of requests without a label. 0.2 by default."""
    max_stale_share: float = Field(0.2, gt=0, le=1)
    """Largest share of requests for which a view broke its freshness limit. 0.2 by default."""


class Gates(Part):
    """The gates. Each ends in pass, fail, undecided or not applicable, with its numbers and one sentence."""

    criteria: tuple[str, ...] = ()
    """Names of the objective's criteria and guard-rails that are gates. None by default."""
    non_inferiority: NonInferiority = NonInferiority(log_loss_margin=0.02, auc_margin=0.01, min_days=14)
    """Comparison with the champion."""
    segments: SegmentsGate = SegmentsGate(min_rows=500, min_days=14, log_loss_margin=0.05)
    """Groups that must not suffer."""
    calibration: CalibrationGate = CalibrationGate(max_gap=0.05)
    """Calibration on the evaluation block."""
    data: DataGate = DataGate(min_rows=1_000, max_null_share=0.9, max_unlabelled_share=0.2, max_stale_share=0.2)
    """Validity of the dataset."""
    min_rank_agreement: float = Field(0.95, gt=0, le=1)
    """Smallest Spearman correlation between the evaluated model and the one refitted on everything. .95 by default."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Gates":
        refuse([Breach(("criteria", at), f"{name!r} is named twice", "each once") for at, name in repeated(self.criteria)])
        return self
