"""Traffic of a real fortnight: values published hourly, one request a simulated hour with its flights, and single calls between.

What the server answered is compared with what came true. The requests of an hour are sent at its beginning, when the values
published until then have been written: what the model sees is what it could have seen.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from feature_repo import store
from perennial.evaluation import BlockEvaluation, NaiveRule, evaluate
from perennial.settings import Settings
from perennial.spec.model import Model

VIEWS = ("weather", "carrier", "route", "plane")
KEYS = ("origin", "dest", "carrier", "tailnum")
READY_SECONDS = 60


@dataclass(frozen=True)
class Played:
    """What was sent and answered."""

    answers: pd.DataFrame
    """One row a flight: `flight_id`, `event_timestamp` (the hour of its request), `probability`, `decision`."""
    hours: int
    """Requests with the flights of an hour."""
    singles: int
    """Requests with one flight, by V2."""


class Client:
    """One kept connection to the server."""

    def __init__(self, url: str, model: str) -> None:
        self.model, self.connection = model, http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)

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

    def post(self, path: str, body: dict[str, object], now: datetime) -> dict[str, Any]:
        """The answer to a request made at `now`.

        Raises:
            RuntimeError: the server did not answer 200.
        """
        headers = {"Content-Type": "application/json", "Perennial-Time": now.isoformat()}
        self.connection.request("POST", path, json.dumps(body), headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {text.decode()}")
        found: dict[str, Any] = json.loads(text)
        return found


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
        client, until = Client(url, model), time.monotonic() + READY_SECONDS
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
    bounds = [("event_timestamp", ">=", pd.Timestamp(start)), ("event_timestamp", "<", pd.Timestamp(end))]
    return pd.read_parquet(settings.sources / f"{source}.parquet", filters=bounds)


def play(settings: Settings, model: Model, url: str, start: datetime, end: datetime) -> Played:
    """Send the flights of [start, end) hour by hour, after writing what was published until each hour.

    Args:
        settings: where sources and online store are.
        model: the spec.
        url: the server's address.
        start: begin, a whole hour, UTC; what was published before is in the online store.
        end: end, exclusive.
    """
    fields = [field.name for field in model.spec.requests.fields]
    requests = read(settings, model.spec.requests.source, start, end)
    by_hour = dict(list(requests.groupby(requests["event_timestamp"].dt.floor("h"))))
    published = {view: dict(list(read(settings, view, start, end).groupby("event_timestamp"))) for view in VIEWS}
    client, answers, singles = Client(url, model.name), list[pd.DataFrame](), 0
    for hour in pd.date_range(start, end, freq="h", inclusive="left"):
        for view, values in published.items():
            if hour in values:
                store.write_online(settings, view, values[hour])
        if hour not in by_hour:
            continue
        flights = by_hour[hour]
        rows = flights[[*KEYS, *fields]].astype(object).where(flights[[*KEYS, *fields]].notna(), None).to_dict("records")
        answer = client.post(f"/v1/models/{model.name}:predict", {"instances": rows}, hour.to_pydatetime())
        found = pd.DataFrame(answer["predictions"])[["probability", "decision"]]
        answers.append(flights[["flight_id"]].assign(event_timestamp=hour).reset_index(drop=True).join(found))
        if len(answers) % 4 == 0:
            single = client.post(f"/v2/models/{model.name}/infer", tensors(rows[0]), hour.to_pydatetime())
            outputs = {output["name"]: output["data"] for output in single["outputs"]}
            if abs(outputs["probability"][0] - found["probability"][0]) > 1e-9:
                raise RuntimeError(f"V2 and V1 answer differently for flight {flights['flight_id'].iloc[0]} at {hour}")
            singles += 1
    return Played(pd.concat(answers, ignore_index=True), len(answers), singles)


def tensors(row: Mapping[Any, Any]) -> dict[str, object]:
    """A V2 request for one row: one named tensor a key or field that is there."""
    kinds = {str: "BYTES", int: "INT64", float: "FP64", bool: "BOOL"}
    present = {name: value for name, value in row.items() if value is not None}
    inputs = [{"name": name, "shape": [1], "datatype": kinds[type(value)], "data": [value]} for name, value in present.items()]
    return {"inputs": inputs}


def judge(settings: Settings, model: Model, played: Played, threshold: float, naive: NaiveRule, now: datetime) -> BlockEvaluation:
    """What was served beside what came true by `now`: metrics with intervals over days, and the requests without a label.

    Args:
        settings: where the labels are.
        model: the spec.
        played: what was answered.
        threshold: of the contract.
        naive: the rule to beat, from the training.
        now: later labels do not count.
    """
    spec = model.spec
    labels = read(settings, spec.label.source, played.answers["event_timestamp"].min().to_pydatetime(), now)
    frame = played.answers.merge(labels[[spec.requests.id, spec.label.column]], on=spec.requests.id, how="left")
    day = frame["event_timestamp"].dt.strftime("%Y-%m-%d")
    counts = frame[spec.label.column].isna().groupby(day).agg(["sum", "size"])
    known = frame[frame[spec.label.column].notna() & frame["probability"].notna()]
    first, last = frame["event_timestamp"].min().floor("D"), frame["event_timestamp"].max().floor("D")
    return evaluate(
        known["probability"].to_numpy(dtype=np.float64),
        known[spec.label.column].to_numpy(dtype=bool),
        known["event_timestamp"].dt.tz_localize(None).to_numpy().astype("datetime64[us]"),
        objective=spec.objective,
        evaluation=spec.evaluation,
        start=first.to_pydatetime(),
        end=(last + pd.Timedelta(days=1)).to_pydatetime(),
        unlabelled_by_day={str(name): (int(row["sum"]), int(row["size"])) for name, row in counts.iterrows()},
        naive=naive,
        threshold=threshold,
        seed=spec.training.seed,
    )
