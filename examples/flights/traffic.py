"""Traffic of a real year: values published hourly, one request a simulated hour with its flights, and single calls between.

The requests of an hour are sent at its beginning, when the values published until then have been written: what the model sees is
what it could have seen. How history is played stands in `serving.replay`; here is what of the year is sent.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from perennial.settings import Settings
from perennial.spec.model import Model
from serving.replay.caller import Caller
from serving.replay.play import AnsweredCall, Played, Replay

PER_MONTH = 5_000
"""Flights of a month that are sent, at least."""
SHORTEST_MONTH = 28
SEED = 2013
"""Of the choice of flights."""


def months(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The calendar months of [start, end), the first and the last cut to it.

    >>> [f"{begin:%d %b} {stop:%d %b}" for begin, stop in months(datetime(2013, 4, 2), datetime(2013, 6, 1))]
    ['02 Apr 01 May', '01 May 01 Jun']
    """
    begins = [time.to_pydatetime() for time in pd.date_range(start, end, freq="MS", inclusive="neither", normalize=True)]
    edges = [start, *(begin for begin in begins if start < begin < end), end]
    return list(pairwise(edges))


def choose(requests: pd.DataFrame, per_month: int | None) -> pd.DataFrame:
    """The requests that are sent: as many of every day, chosen at random with a seed, or all of a day that has fewer.

    A day's choice depends on the day alone, not on where the stretch begins that it is part of.

    Args:
        requests: with `event_timestamp`.
        per_month: how many of a month at least; all when None.

    >>> hours = pd.date_range("2013-04-02", "2013-04-04", freq="h", inclusive="left", tz="UTC")
    >>> chosen = choose(pd.DataFrame({"event_timestamp": hours}), 140)
    >>> chosen["event_timestamp"].dt.day.value_counts().to_dict()
    {2: 5, 3: 5}
    """
    if per_month is None:
        return requests
    per_day, places = math.ceil(per_month / SHORTEST_MONTH), []
    days = requests["event_timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[D]").astype(np.int64)
    for day in np.unique(days).tolist():
        found = np.flatnonzero(days == day)
        places.append(found[np.random.default_rng((SEED, day)).permutation(len(found))[:per_day]])
    return requests.iloc[np.sort(np.concatenate(places))] if places else requests


def play(settings: Settings, model: Model, url: str, start: datetime, end: datetime, per_month: int | None = PER_MONTH) -> Played:
    """Send the flights of [start, end) hour by hour, each with its id, after writing what was published until the hour.

    The first flight of each day is asked for again, by V2. Two answers are compared where one version gave both.

    Args:
        settings: where sources and online store are.
        model: the spec.
        url: the server's address.
        start: begin, a whole hour, UTC; what was published before is in the online store.
        end: end, exclusive.
        per_month: how many flights of a month are sent at least, spread over its days; all when None.

    Raises:
        PerennialError: the server did not answer, or refused a request.
        RuntimeError: V1 and V2 answered differently.
    """
    some = partial(choose, per_month=per_month)
    played = Replay(settings, model, url, timedelta(hours=1), some, FirstOfDay()).play(start, end)
    if played.refusals:
        raise RuntimeError(played.refusals[0])
    return played


class FirstOfDay:
    """After the first call of each day its first flight is asked for again, alone and by V2."""

    def __init__(self) -> None:
        self.days: list[date] = []
        """The days of which one was."""

    def __call__(self, call: AnsweredCall) -> None:
        """Ask, where the call is the first of its day. Raises as `ask_again`."""
        if call.now.date() not in self.days[-1:]:
            self.days.append(call.now.date())
            ask_again(call.caller, call.rows[0], call.answer, call.now)


def ask_again(caller: Caller, row: Mapping[str, Any], answer: Mapping[str, Any], now: datetime) -> None:
    """Ask for the first row of an answer alone, by V2.

    Raises:
        RuntimeError: the same version answers differently.
    """
    single = caller.ask(f"/v2/models/{caller.model}/infer", tensors(row), now)
    outputs = {output["name"]: output["data"] for output in single["outputs"]}
    first = answer["predictions"][0]
    if single["model_version"] == answer["model_version"] and abs(outputs["probability"][0] - first["probability"]) > 1e-9:
        raise RuntimeError(f"V2 and V1 answer differently at {now.isoformat()}: {outputs['probability'][0]} and {first}")


def tensors(row: Mapping[str, Any]) -> dict[str, object]:
    """A V2 request for one row: one named tensor for the id, and each key or field that is there."""
    kinds = {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}
    present = {name: value for name, value in row.items() if value is not None}
    inputs = [{"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in present.items()]
    return {"inputs": inputs}
