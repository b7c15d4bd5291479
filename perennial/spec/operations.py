"""What a model needs once it is trained: serving, monitoring, retraining."""

from typing import Literal

from pydantic import Field, model_validator

from perennial.spec.part import Breach, Part, refuse, repeated


class Serving(Part):
    """What the endpoint promises."""

    p95_ms: float = Field(50.0, gt=0)
    """Latency budget of one request, 95th percentile in milliseconds, lookup included. 50 by default: unnoticed in a page."""
    log_required: bool = False
    """Whether an answer is refused (503) when its row cannot be logged. No by default: an answer outweighs its record."""
    replicas: int = Field(2, ge=1)
    """Pods that answer on a cluster. 2 by default: one may be lost, or moved to another node, without a refused request."""
    max_replicas: int | None = Field(None, ge=2)
    """Most pods when the cluster scales by CPU; absent (the default), it does not scale."""

    @model_validator(mode="after")
    def _scales_up(self) -> "Serving":
        if self.max_replicas is not None and self.max_replicas <= self.replicas:
            refuse(
                [Breach(("max_replicas",), f"{self.max_replicas}, but there are {self.replicas} replicas", "more than replicas")]
            )
        return self


class MonitoredColumn(Part):
    """A column whose distribution is watched."""

    name: str = Field(min_length=1)
    """A feature, a request-time field, or `probability` (the model's output)."""
    method: Literal["wasserstein", "psi", "jensenshannon", "ks", "chisquare", "mean"]
    """Evidently's statistic for it; always explicit, because its automatic choice switches with the number of rows."""


class Monitoring(Part):
    """How the served model is watched."""

    window_days: int = Field(7, ge=1)
    """Length of a window in days, by event time. 7 by default: a week holds every weekday once."""
    columns: tuple[MonitoredColumn, ...] = ()
    """Columns that are watched, with their methods. None by default."""
    criteria: tuple[str, ...] = ()
    """Names of the objective's criteria and guard-rails that are watched on matured windows. None by default."""
    false_alarms_per_quarter: float = Field(1.0, gt=0)
    """False alarms that are accepted in a quarter, over all columns together. 1 by default."""
    material_size_sd: float = Field(0.1, ge=0)
    """Smallest window-over-window drift, in standard deviations of the reference, that can alarm. 0.1 by default: less is
    noise to act on."""
    block_rows: int | None = Field(None, ge=50)
    """Rows that are sampled of each block of the training and of each window; a window with fewer is not judged. By default what
    four of five windows of the training had, less a fifth, from 50 to 1000: with more, it is the weeks that differ and not the
    samples, and with fewer, shares and distances say nothing."""
    max_null_increase: float = Field(0.1, ge=0, le=1)
    """Largest null share of a watched column above its share in the training. 0.1 by default: one request in ten."""
    max_new_share: float = Field(0.05, ge=0, le=1)
    """Largest share of values far outside the training's range, or of a category that it never saw. 0.05 by default."""
    min_volume_share: float = Field(0.5, ge=0, le=1)
    """Fewest requests in a window, as a share of the median of the four before it. 0.5 by default: half of them gone."""
    clean_windows: int = Field(2, ge=1)
    """Windows without a failed check, one after the other, that close an incident. 2 by default: one may be luck."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> "Monitoring":
        names = [column.name for column in self.columns]
        breaches = [Breach(("columns", at, "name"), f"{name!r} is named twice", "each once") for at, name in repeated(names)]
        breaches += [Breach(("criteria", at), f"{name!r} is named twice", "each once") for at, name in repeated(self.criteria)]
        refuse(breaches)
        return self


class Retraining(Part):
    """When the model is trained again."""

    mode: Literal["advisory", "automatic"] = "automatic"
    """`advisory` writes the decision and waits for a person; `automatic` (the default) starts the pipeline: the gates decide."""
    reasons: tuple[Literal["drift", "degraded", "scheduled", "manual"], ...] = ("degraded", "scheduled", "manual")
    """Reasons that may start it. Drift alone is not among the defaults: it does not show that training helps."""
    max_age_days: int | None = Field(None, ge=1)
    """Age of the champion at which a *scheduled* retrain is due; required exactly when that reason is listed."""
    windows_required: int = Field(2, ge=1)
    """m of *m of n*: how many of the newest windows must alarm. 2 by default."""
    windows_considered: int = Field(3, ge=1)
    """n of *m of n*: how many of the newest windows are looked at. 3 by default."""
    cool_down_days: int = Field(28, ge=0)
    """Days after a training in which no other starts, except *manual*. 28 by default: an evaluation block of new labels."""
    per_quarter: int = Field(3, ge=1)
    """Most retrains in a quarter. 3 by default: one a month."""

    @model_validator(mode="after")
    def _consistent(self) -> "Retraining":
        breaches = [Breach(("reasons", at), f"{name!r} is named twice", "each once") for at, name in repeated(self.reasons)]
        if self.windows_required > self.windows_considered:
            breaches.append(
                Breach(
                    ("windows_required",),
                    f"{self.windows_required} is more than are looked at",
                    f"at most windows_considered ({self.windows_considered})",
                )
            )
        if "scheduled" in self.reasons and self.max_age_days is None:
            breaches.append(
                Breach(("max_age_days",), "missing, though 'scheduled' is among the reasons", "a whole number, at least 1")
            )
        if "scheduled" not in self.reasons and self.max_age_days is not None:
            breaches.append(
                Breach(("max_age_days",), "given, though 'scheduled' is not among the reasons", "no max_age_days, or 'scheduled'")
            )
        refuse(breaches)
        return self
