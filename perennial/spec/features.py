"""What a prediction is made from, and what it is about: requests, features, freshness, label."""

from typing import Literal

from pydantic import Field, model_validator

from perennial.spec.part import RESERVED, Breach, Part, refuse, repeated

DType = Literal["float", "int", "string", "bool"]


class RequestField(Part):
    """A value that the caller sends with the request."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the column in the requests' source and of the field in a request."""
    dtype: DType
    """Type of the value."""


class Requests(Part):
    """The requests of the past: one row for each prediction that was, or would have been, asked for."""

    source: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the Parquet source, without `.parquet`; its `event_timestamp` is the time of the request (UTC)."""
    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Column that identifies a request; unique."""
    fields: tuple[RequestField, ...] = ()
    """Request-time fields that the model reads, in order. None by default."""

    @model_validator(mode="after")
    def _names_are_free(self) -> "Requests":
        names = [field.name for field in self.fields]
        breaches = [Breach(("fields", at, "name"), f"{name!r} is named twice", "each once") for at, name in repeated(names)]
        for at, name in enumerate(names):
            if name == self.id:
                breaches.append(Breach(("fields", at, "name"), f"{name!r} is the id: a model must not read it", "another column"))
            if name in RESERVED:
                breaches.append(
                    Breach(("fields", at, "name"), f"{name!r} is a dataset's own column", f"any but {', '.join(RESERVED)}")
                )
        if self.id in RESERVED:
            breaches.append(Breach(("id",), f"{self.id!r} is a dataset's own column", f"any but {', '.join(RESERVED)}"))
        refuse(breaches)
        return self


class Freshness(Part):
    """How old a view's observation may be when it is read, and what happens when it is older."""

    view: str = Field(min_length=1)
    """Name of the feature view. Its column `<view>_observed_at` says when the value was observed."""
    max_age_hours: float = Field(gt=0)
    """Largest age, in hours, of the observation at the time of the request."""
    on_stale: Literal["reject", "default", "last_known"] = "default"
    """`reject`: no prediction. `default` (the default: a model knows missing values, an old value lies): the view's values
    count as missing. `last_known`: the old value is used and the answer says so. Training treats its rows alike."""


class Features(Part):
    """Where the model's inputs come from."""

    service: str = Field(min_length=1)
    """Name of the Feast feature service; the model's columns are its features, then the request-time fields."""
    freshness: tuple[Freshness, ...] = ()
    """Limits by view. A view without one may be of any age."""

    @model_validator(mode="after")
    def _one_limit_a_view(self) -> "Features":
        views = [limit.view for limit in self.freshness]
        refuse(
            [Breach(("freshness", at, "view"), f"{view!r} is named twice", "one limit a view") for at, view in repeated(views)]
        )
        return self


class Label(Part):
    """What came true."""

    source: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Name of the Parquet source, without `.parquet`; its `event_timestamp` is when the label became known (UTC)."""
    column: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Boolean column: true is the positive class."""
    maturity_hours: float = Field(gt=0)
    """Hours after the close of a block of requests until its labels count as arrived. A block matures by elapsed time, never by
    the share of labels: labels may arrive earlier for one class than for the other."""
    never: str = Field("It always comes: nobody has said what it would mean if it did not.", min_length=1)
    """What it means when a label never comes, and how such a request counts for the utility. Leave it out where each request
    gets its label in the end."""
