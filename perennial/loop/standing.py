"""How far a model's traffic is, as whoever deploys it sees it. The record only: `serving.deployers` makes it."""

from typing import Literal

from perennial.record import Record


class Standing(Record):
    """How far a model's traffic is."""

    state: Literal["absent", "rolling", "serving", "stuck", "foreign"]
    """`serving`: all of it is with the version that is wanted; `rolling`: on its way; `stuck`: it will not come by waiting;
    `foreign`: what runs is not what was installed, even where all of it answers."""
    sentence: str
    """For people: which version, how many answer, and why not all."""
