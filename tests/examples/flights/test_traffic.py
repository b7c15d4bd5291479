"""The play of a stretch: flights of every day, each hour's after the values published until then and none after it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest

from examples.flights import traffic
from examples.flights.traffic import choose, play
from feature_repo import store
from feature_repo.online_store.database import open_database
from perennial.settings import Settings
from perennial.spec.read import read
from serving.replay.caller import Caller
from serving.replay.play import Played
from tests.servers.http import running

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
ROOT = Path(__file__).parents[3]
START, END = datetime(2013, 4, 28, tzinfo=UTC), datetime(2013, 5, 3, tzinfo=UTC)
FLIGHTS_A_DAY, PER_MONTH = 60, 280
"""Of sixty flights of a day ten are sent."""
SWAPPED = datetime(2013, 5, 1, tzinfo=UTC)
"""From here on another version answers, each call another one."""


class Answers(ThreadingHTTPServer):
    """In the place of a model server: notes what it was asked, and how far the online store had got."""

    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.settings = settings
        self.asked: list[tuple[str, datetime, list[dict[str, object]], datetime]] = []
        self.hang_up_after = 3


class Handler(BaseHTTPRequestHandler):
    """Answers with the distance in thousands of miles; hangs up once, without a word before."""

    protocol_version = "HTTP/1.1"
    server: Answers

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
        now = datetime.fromisoformat(self.headers["perennial-time"])
        with open_database(self.server.settings.online_store, write=False) as database:
            newest = max(time for view in ("carrier", "route") for _, time, _ in database.rows(view))
        published = datetime.fromtimestamp(newest / 1e6, UTC)
        version = "one" if now < SWAPPED else f"version {len(self.server.asked)}"
        shift = 0.0 if version == "one" else len(self.server.asked) / 1000
        if self.path.startswith("/v1"):
            rows = body["instances"]
            answers = [{"probability": row["distance"] / 1000 + shift, "decision": False} for row in rows]
            answer: dict[str, object] = {"predictions": answers}
        else:
            rows = [{tensor["name"]: tensor["data"][0] for tensor in body["inputs"]}]
            answer = {"outputs": [{"name": "probability", "data": [rows[0]["distance"] / 1000 + shift]}]}
        self.server.asked.append((self.path, now, rows, published))
        text = orjson.dumps(answer | {"model_version": version})
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        if len(self.server.asked) == self.server.hang_up_after:
            self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def write_sources(folder: Path) -> None:
    """Flights at random minutes of five days, and the values of every view."""
    random, days = np.random.default_rng(1), (END - START).days
    folder.mkdir(parents=True)
    time = pd.Timestamp(START) + pd.to_timedelta(np.sort(random.integers(0, days * 1440, days * FLIGHTS_A_DAY)), unit="min")
    count = len(time)
    frames = {
        "requests": pd.DataFrame(
            {
                "flight_id": np.arange(count) + 1,
                "event_timestamp": time,
                "origin": "JFK",
                "dest": random.choice(["LAX", "BOS"], count),
                "carrier": "DL",
                "tailnum": "N1",
                "distance": random.integers(100, 900, count).astype(float),
                "weekday": 1,
                "hour": 12,
                "departure_minute": 720,
                "scheduled_minutes": [None if late else 100.0 for late in random.uniform(size=count) < 0.1],
            }
        )
    }
    hours = pd.date_range(START, END, freq="h")
    observed = {"event_timestamp": hours}
    frames["carrier"] = pd.DataFrame({"carrier": "DL", **observed, "carrier_observed_at": hours})
    for window in ("3h", "24h", "7d"):
        frames["carrier"][f"carrier_late_rate_{window}"], frames["carrier"][f"carrier_landed_{window}"] = 0.2, 3
    frames["route"] = pd.DataFrame({"origin": "JFK", "dest": "LAX", **observed, "route_observed_at": hours})
    for window in ("24h", "7d"):
        frames["route"][f"route_late_rate_{window}"], frames["route"][f"route_landed_{window}"] = 0.2, 3
    frames["weather"] = pd.DataFrame({"origin": "JFK", **observed, "weather_observed_at": hours})
    for name in ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"):
        frames["weather"][f"weather_{name}"] = 1.0
    before = pd.DatetimeIndex([pd.Timestamp(START) - pd.Timedelta(days=90)])
    frames["plane"] = pd.DataFrame({"tailnum": "N1", "event_timestamp": before, "plane_observed_at": before})
    for name in ("year", "engines", "seats", "manufacturer", "type", "engine"):
        frames["plane"][f"plane_{name}"] = 4 if name in {"year", "engines", "seats"} else "a"
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False, coerce_timestamps="us")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    state = tmp_path_factory.mktemp("traffic") / "state"
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(ROOT), "PERENNIAL_STATE": str(state)})
    write_sources(Path(settings.sources))
    store.apply(settings)
    return settings


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Answers]:
    server = Answers(settings)
    with running(server):
        yield server


@pytest.fixture(scope="module")
def played(settings: Settings, server: Answers) -> Played:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return play(settings, read(settings.models / "flight-delay.yaml"), url, START, END, PER_MONTH)


def test_as_many_flights_of_every_day_are_sent(played: Played) -> None:
    by_day = played.answers["event_timestamp"].dt.date.value_counts()
    assert by_day.to_dict() == {(START + timedelta(days=day)).date(): 10 for day in range(5)}
    assert played.answers["flight_id"].is_unique


def test_every_answer_belongs_to_its_flight(played: Played, settings: Settings, server: Answers) -> None:
    requests = pd.read_parquet(settings.source("requests")).set_index("flight_id").loc[played.answers["flight_id"]]
    early = (played.answers["event_timestamp"] < SWAPPED).to_numpy()
    assert np.allclose(played.answers["probability"][early], requests["distance"].to_numpy()[early] / 1000)
    assert early.sum() == 30
    sent = [row["flight_id"] for path, _, rows, _ in server.asked if path.startswith("/v1") for row in rows]
    assert sent == played.answers["flight_id"].tolist()
    hours = requests["event_timestamp"].dt.floor("h").to_numpy()
    assert (played.answers["event_timestamp"].to_numpy() == hours).all()


def test_an_hour_is_asked_for_once_its_values_are_there_and_no_later_ones(played: Played, server: Answers) -> None:
    whole = [call for call in server.asked if call[0].startswith("/v1")]
    assert len(whole) == played.calls
    assert all(published == now for _, now, _, published in server.asked)
    times = [now for _, now, _, _ in whole]
    assert times == sorted(set(times))


def test_a_connection_that_was_closed_is_opened_again(played: Played, server: Answers) -> None:
    assert len(server.asked) == played.calls + 5 > server.hang_up_after


def test_one_version_that_answers_v1_and_v2_differently_is_noticed() -> None:
    class Differing(Caller):
        def ask(self, path: str, body: object, now: datetime) -> dict[str, object]:  # noqa: ARG002 - what a client takes
            return {"model_version": "one", "outputs": [{"name": "probability", "data": [0.3]}]}

    caller = Differing("http://127.0.0.1:1", "flight-delay")
    now = datetime(2013, 4, 1, tzinfo=UTC)
    answer = {"model_version": "one", "predictions": [{"probability": 0.2}]}
    with pytest.raises(RuntimeError, match="V2 and V1 answer differently at 2013-04-01"):
        traffic.ask_again(caller, {"distance": 1.0}, answer, now)
    traffic.ask_again(caller, {"distance": 1.0}, answer | {"model_version": "two"}, now)


def test_a_days_choice_does_not_depend_on_where_the_stretch_begins() -> None:
    hours = pd.DataFrame({"event_timestamp": pd.date_range("2013-04-01", "2013-04-06", freq="10min", inclusive="left", tz="UTC")})
    whole = choose(hours, 280)
    late = choose(hours[hours["event_timestamp"] >= pd.Timestamp("2013-04-04", tz="UTC")], 280)
    assert whole["event_timestamp"].tail(20).tolist() == late["event_timestamp"].tolist()
    assert len(whole) == 50 and whole["event_timestamp"].is_monotonic_increasing
    assert len(choose(hours, None)) == len(hours) and len(choose(hours.head(0), 280)) == 0
    assert len(choose(hours, 10**6)) == len(hours)
