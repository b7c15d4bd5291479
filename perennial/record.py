"""The base of everything that is stored as JSON: frozen, unknown keys refused, the same bytes for the same values."""

from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from perennial.errors import DataError, NotFoundError


class Record(BaseModel):
    """A stored value. Written as sorted, indented JSON; NaN and infinity are refused: a number that is not there is null."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    def to_json(self) -> str:
        """This record as JSON text that ends in a newline."""
        return self.model_dump_json(indent=1) + "\n"

    def write(self, path: Path) -> None:
        """Write this record to `path`."""
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The record stored at `path`.

        Raises:
            NotFoundError: there is no such file.
            DataError: the file is not such a record.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise NotFoundError(f"{path}: no such file; expected a stored {cls.__name__}") from error
        except (ValidationError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not a stored {cls.__name__}: {error}") from error


def old_keys(*within: str, **today: str) -> Any:
    """A validator that reads keys which an older release stored; a record names it `_old`. What is written has the keys of today.

    >>> class Loss(Record):
    ...     degraded: bool
    ...     _old = old_keys(hurt="degraded")
    >>> Loss.model_validate_json('{"hurt": true}')
    Loss(degraded=True)
    >>> Loss.model_validate({"degraded": True}).model_dump()
    {'degraded': True}

    Args:
        within: fields that are mappings, whose keys are renamed too.
        today: by the old key, the one of today.
    """

    def rename(value: object) -> object:
        return {today.get(key, key): item for key, item in value.items()} if isinstance(value, dict) else value

    def renamed(_: type[BaseModel], value: object) -> object:
        fields = rename(value)
        return (
            {key: rename(item) if key in within else item for key, item in fields.items()} if isinstance(fields, dict) else fields
        )

    method: Any = classmethod(renamed)
    return model_validator(mode="before")(method)
