"""The two rules that every part of a spec obeys."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a spec: frozen, unknown keys refused, the docstring under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
