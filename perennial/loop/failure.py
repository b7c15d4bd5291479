"""What a run broke with, as a record: made where the error is at hand, kept in the ledger, read by who decides what follows."""

from typing import Self

from perennial import errors
from perennial.record import Record


class Failure(Record):
    """The end of a run that broke."""

    kind: str
    """Name of the error's type in `perennial.errors`."""
    retry: bool
    """Whether the same may work later: a platform failed, and not the data, the spec or the code."""
    step: str
    """Name of the step that broke; empty where none did."""
    sentence: str
    """What was seen, and the remedy."""

    @classmethod
    def of(cls, error: errors.PerennialError, step: str = "") -> Self:
        """The failure that an error is.

        >>> Failure.of(errors.DataError("orders.parquet: empty"), "build-dataset").retry
        False
        >>> Failure.of(errors.FencedError("taken")).retry
        True
        """
        is_platform = isinstance(error, errors.PlatformError)
        return cls(kind=type(error).__name__, retry=is_platform, step=step, sentence=str(error))

    def error(self) -> errors.PerennialError:
        """The error again; of a kind that is no type of ours, what its retry says."""
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, errors.PerennialError):
            return kind(self.sentence)
        return errors.PlatformError(self.sentence) if self.retry else errors.UnexpectedError(self.sentence)
