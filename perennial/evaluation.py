"""How good probabilities are on a block of time: estimates with intervals from a bootstrap over days."""

from perennial.record import Record


class Estimate(Record):
    """A number with its uncertainty."""

    value: float
    """Point estimate."""
    low: float
    """Lower end of the two-sided interval."""
    high: float
    """Upper end of the two-sided interval."""
    standard_error: float
    """Standard deviation of the bootstrap over days."""


class Curve(Record):
    """Points of a plot."""

    x: tuple[float, ...]
    """Horizontal positions."""
    y: tuple[float, ...]
    """Vertical positions."""


class BlockEvaluation(Record):
    """Metrics of one model on one block."""

    start: str
    """Begin of the block, ISO 8601 UTC, inclusive."""
    end: str
    """End of the block, ISO 8601 UTC, exclusive."""
    days: int
    """Days with labelled rows: the units of the bootstrap."""
    rows: int
    """Labelled rows."""
    unlabelled: int
    """Requests of the block that have no label; they are in no metric."""
    label_rate: float
    """Share of positives among the labelled rows."""
    threshold: float
    """Decision threshold that was applied."""
    confidence: float
    """One-sided confidence of `low` and `high` of each estimate."""
    metrics: dict[str, Estimate]
    """auc, average_precision, log_loss, brier, calibration_gap, utility, unlabelled_share, and the same-named metrics of the
    naive rule with the prefix `naive_` where they exist (log_loss, brier, utility)."""
    roc: Curve
    """False positive rate against true positive rate, at most 200 points."""
    precision_recall: Curve
    """Recall against precision, at most 200 points."""
    reliability: Curve
    """Mean probability against label rate in ten equally filled bins."""


class Comparison(Record):
    """Challenger less champion, paired on the same rows."""

    basis: str
    """One sentence: which rows, and whether the versions or the recipes were compared."""
    days: int
    """Days of the block."""
    rows: int
    """Labelled rows."""
    log_loss_ratio: Estimate
    """(challenger - champion) / champion of the mean log loss; below 0 is better."""
    auc_difference: Estimate
    """Challenger - champion; above 0 is better."""
    utility_difference: Estimate
    """Challenger - champion per 1000 requests; above 0 is better."""


class SegmentResult(Record):
    """One group of the block."""

    name: str
    """The group in words: `carrier = MQ`, `temp ≥ 28.4`."""
    column: str
    """Column that defines it."""
    rows: int
    """Labelled rows."""
    days: int
    """Days on which it occurs."""
    label_rate: float
    """Share of positives."""
    log_loss: float
    """Mean log loss of the model in the group."""
    excess: Estimate
    """Relative increase of the group's log loss over the rival's in the same rows: (model - rival) / rival."""
    rival: str
    """`champion` or `naive rule`."""
    judged: bool
    """Whether it has enough support for the gate."""


class ErrorAnalysis(Record):
    """Where the model is worst."""

    declared: tuple[SegmentResult, ...]
    """Groups of the objective's segments."""
    found: tuple[SegmentResult, ...]
    """The worst groups among all columns, worst first, found without being named."""
