"""What the steps of a monitoring run hand to each other: measurements and performances by window. Records only."""

from perennial.loop.window import Measurement, Performance, Window
from perennial.record import Record


class Measured(Record):
    """A window with what it held."""

    window: Window
    measurement: Measurement


class Measurements(Record):
    """What the step *measure* found."""

    windows: tuple[Measured, ...]
    """Every closed window that had no record, oldest first."""
    set_aside: str = ""
    """What of the log was set aside for its time, in a sentence; empty where nothing was."""


class Performed(Record):
    """A window with how the model did in it."""

    window: Window
    performance: Performance


class Performances(Record):
    """What the step *perform* found."""

    windows: tuple[Performed, ...]
    """Every matured window that was not judged, oldest first."""
    set_aside: str = ""
    """What of their labels was set aside for its time, in a sentence; empty where nothing was."""
