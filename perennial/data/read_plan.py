"""The read plan: what a feature service is, resolved once, so that a server looks its features up without Feast.

Here: the plan as it is stored in the contract, and the rule that says when an observation is stale. `feature_repo.plan` makes it,
`feature_repo.online_store.reader` carries it out. Serving reads it, so pandas is not imported here.
"""

from typing import Literal

from pydantic import Field

from perennial.record import Record
from perennial.spec.columns import Column

KeyKind = Literal["string", "int32", "int64"]
ValueKind = Literal["float32", "float64", "int32", "int64", "bool", "string", "timestamp"]
NotFresh = Literal["missing", "stale", "stale layout"]
"""Why a view of a row was not fresh: nothing is stored of its key, the observation is too old, or the stored value was packed
under other definitions and cannot be read."""


class PlanKey(Record):
    """A join key, as a request brings it."""

    name: str
    """Its name."""
    kind: KeyKind
    """Its type."""


class PlanValue(Record):
    """One field of a stored value."""

    name: str
    """Its name."""
    kind: ValueKind
    """Its type."""


class PlanView(Record):
    """What is read of one feature view."""

    view: str
    """Its name."""
    join_keys: tuple[PlanKey, ...]
    """Its join keys, sorted by name."""
    fields: tuple[PlanValue, ...]
    """Every field of a stored value, in the order in which they are packed."""
    layout: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Digest of the packing; a stored value of another is never read."""
    features: tuple[Column, ...]
    """What the service takes from it, in the service's order."""
    observed_at: str
    """Field that says when the values were observed."""
    max_age_hours: float | None = None
    """Largest age of the observation at the time of the request; null: any age."""
    on_stale: Literal["reject", "default", "last_known"] = "default"
    """What happens beyond that age."""

    def is_stale(self, observed_at: float | None, time: float) -> bool:
        """Whether an observation is older than its limit. One of unknown time is, where there is a limit.

        Args:
            observed_at: Unix seconds; None when the stored value does not say.
            time: of the request, Unix seconds.

        >>> view = PlanView(view="v", join_keys=(), fields=(), layout="0" * 16, features=(), observed_at="o", max_age_hours=2)
        >>> view.is_stale(0.0, 7200.0), view.is_stale(0.0, 7201.0), view.is_stale(None, 0.0)
        (False, True, True)
        """
        if self.max_age_hours is None:
            return False
        return observed_at is None or time - observed_at > self.max_age_hours * 3600


class ReadPlan(Record):
    """How the features of a request are looked up, and what the request must bring."""

    service: str
    """Feast feature service that was resolved."""
    service_digest: str
    """SHA-256 of its views, fields and types."""
    keys: tuple[PlanKey, ...]
    """Every join key of the service, sorted by name: what a request brings besides its fields."""
    fields: tuple[Column, ...]
    """Every request-time field of the spec, in its order, whether the model sees it or not."""
    views: tuple[PlanView, ...]
    """The service's views, in its order."""

    @property
    def features(self) -> tuple[Column, ...]:
        """Every feature of the service, in its order."""
        return tuple(feature for view in self.views for feature in view.features)
