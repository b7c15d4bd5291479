"""Traffic of a real year: values published hourly, one request a simulated hour with its flights, and single calls between.

The requests of an hour are sent at its beginning, when the values published until then have been written: what the model sees is
what it could have seen.
"""

import http.client
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import pandas as pd
import pyarrow.compute

from feature_repo.online_store.publication import Publication
from feature_repo.sources import opened
from perennial.settings import Settings
from perennial.spec.model import Model

VIEWS = ("weather", "carrier", "route", "plane")
KEYS = ("origin", "dest", "carrier", "tailnum")
READY_SECONDS = 60
PER_MONTH = 5_000
"""Flights of a month that are sent, at least."""
SHORTEST_MONTH = 28
SEED = 2013
"""Of the choice of flights."""


@dataclass(frozen=True)
class Played:
    """What was sent and answered."""

    answers: pd.DataFrame
    """One row a flight: `flight_id`, `event_timestamp` (the hour of its request), `probability`, `decision`."""
    hours: int
    """Requests with the flights of an hour."""
    singles: int
    """Requests with one flight, by V2: the first flight of each day again."""


class Client:
    """One kept connection to the server."""

    def __init__(self, url: str, model: str) -> None:
        self.model, self.connection = model, http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

    def close(self) -> None:
        """Nothing is kept open."""
        self.connection.close()

    def ready(self) -> bool:
        """Whether model and online store answer."""
        try:
            self.connection.request("GET", f"/v2/models/{self.model}/ready")
            response = self.connection.getresponse()
            response.read()
        except OSError:
            self.connection.close()
            return False
        return response.status == 200

    def post(self, path: str, body: Mapping[str, object], now: datetime) -> dict[str, Any]:
        """The answer to a request made at `now`.

        Raises:
            RuntimeError: the server did not answer 200.
        """
        text, headers = orjson.dumps(body), {"Content-Type": "application/json", "Perennial-Time": now.isoformat()}
        try:
            status, answer = self._send(path, text, headers)
        except (http.client.RemoteDisconnected, ConnectionError):
            # A connection that was idle for some seconds has been closed by the server: nothing was answered on it.
            self.connection.close()
            status, answer = self._send(path, text, headers)
        if status != 200:
            raise RuntimeError(f"{path}: {status} {answer.decode()}")
        found: dict[str, Any] = orjson.loads(answer)
        return found

    def _send(self, path: str, text: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        self.connection.request("POST", path, text, headers)
        response = self.connection.getresponse()
        return response.status, response.read()


@contextmanager
def server(model: str, port: int) -> Iterator[str]:
    """A server of the model that lets requests say their time; its address. It is ended, and its log sealed, afterwards.

    Raises:
        RuntimeError: it did not become ready.
    """
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "console.cli", "serve", model, "--port", str(port), "--replay"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + READY_SECONDS
        with closing(Client(url, model)) as client:
            while not client.ready():
                if process.poll() is not None or time.monotonic() > until:
                    process.kill()
                    raise RuntimeError(f"the server did not become ready: {process.communicate()[1]}")
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=60)


def read(settings: Settings, source: str, start: datetime, end: datetime) -> pd.DataFrame:
    """Rows of a source with `event_timestamp` in [start, end)."""
    moment = pyarrow.compute.field("event_timestamp")
    with opened(settings.source(source)) as rows:
        frame: pd.DataFrame = rows.to_table(filter=(moment >= start) & (moment < end)).to_pandas()
    return frame


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

    It goes on while a champion follows another: two answers are compared where one version gave both. Stretches played one after
    the other send what one play of the whole would.

    Args:
        settings: where sources and online store are.
        model: the spec.
        url: the server's address.
        start: begin, a whole hour, UTC; what was published before is in the online store.
        end: end, exclusive.
        per_month: how many flights of a month are sent at least, spread over its days; all when None.

    Raises:
        RuntimeError: the server did not answer 200, or V1 and V2 answered differently.
    """
    with closing(Client(url, model.name)) as client:
        played = [_play_month(settings, model, client, span, per_month) for span in months(start, end)]
    answers = pd.concat([part.answers for part in played], ignore_index=True)
    return Played(answers, sum(part.hours for part in played), sum(part.singles for part in played))


def _play_month(
    settings: Settings, model: Model, client: Client, span: tuple[datetime, datetime], per_month: int | None
) -> Played:
    """As `play`. The values of a month are packed at once; those of a year would take half a gigabyte."""
    identifier = model.spec.requests.id
    names = [identifier, *KEYS, *(field.name for field in model.spec.requests.fields)]
    requests = choose(read(settings, model.spec.requests.source, *span), per_month)
    requests = requests.sort_values("event_timestamp", kind="stable", ignore_index=True)
    rows = requests[names].astype(object).where(requests[names].notna(), None).to_dict("records")
    hours = requests["event_timestamp"].dt.floor("h")
    by_hour: dict[pd.Timestamp, list[dict[Any, Any]]] = {}
    for hour, row in zip(hours, rows, strict=True):
        by_hour.setdefault(hour, []).append(row)
    publication = Publication.prepare(settings, {view: read(settings, view, *span) for view in VIEWS})
    answers, day, singles = list[dict[str, Any]](), None, 0
    for hour in pd.date_range(*span, freq="h", inclusive="left"):
        now = hour.to_pydatetime()
        publication.write_until(now)
        if hour not in by_hour:
            continue
        answer = client.post(f"/v1/models/{model.name}:predict", {"instances": by_hour[hour]}, now)
        answers += answer["predictions"]
        if now.date() != day:
            day, singles = now.date(), singles + 1
            ask_again(client, by_hour[hour][0], answer, now)
    found = pd.DataFrame(answers, columns=["probability", "decision"])
    return Played(requests[[identifier]].assign(event_timestamp=hours).join(found), len(by_hour), singles)


def ask_again(client: Client, row: Mapping[Any, Any], answer: Mapping[str, Any], now: datetime) -> None:
    """Ask for the first row of an answer alone, by V2.

    Raises:
        RuntimeError: the same version answers differently.
    """
    single = client.post(f"/v2/models/{client.model}/infer", tensors(row), now)
    outputs = {output["name"]: output["data"] for output in single["outputs"]}
    first = answer["predictions"][0]
    if single["model_version"] == answer["model_version"] and abs(outputs["probability"][0] - first["probability"]) > 1e-9:
        raise RuntimeError(f"V2 and V1 answer differently at {now.isoformat()}: {outputs['probability'][0]} and {first}")


def tensors(row: Mapping[Any, Any]) -> dict[str, object]:
    """A V2 request for one row: one named tensor for the id, and each key or field that is there."""
    kinds = {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}
    present = {name: value for name, value in row.items() if value is not None}
    inputs = [{"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in present.items()]
    return {"inputs": inputs}
