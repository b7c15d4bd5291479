"""Requests at their own times: each after the values published until then and none later; what was answered is not sent again."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pandas as pd
import pytest

from feature_repo import store
from feature_repo.online_store.database import open_database
from perennial.errors import DataError, NotFoundError, PlatformError, SpecError
from perennial.settings import Settings
from perennial.spec.read import read
from serving.replay.caller import Caller
from serving.replay.play import Replay
from tests.second_project import FIRST_DAY, NAME, write_project
from tests.servers.http import running

pytestmark = [
    # Feast's dependencies warn about each other in use.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
START, END = FIRST_DAY + timedelta(days=40), FIRST_DAY + timedelta(days=43)
PER_DAY = 20


@dataclass(frozen=True)
class Asked:
    """A call as the server saw it."""

    now: datetime
    rows: list[dict[str, object]]
    published: datetime
    """Time of the newest value that the online store held."""


class Server(ThreadingHTTPServer):
    """In the place of a model server: notes what it was asked, and how far the online store had got."""

    daemon_threads = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.settings, self.asked, self.refuses = settings, list[Asked](), ""
        self.status = 400

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """Answers with a hundredth of the amount, or refuses shops of one code."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        rows = orjson.loads(self.rfile.read(int(self.headers["content-length"])))["instances"]
        with open_database(self.server.settings.online_store, write=False) as database:
            newest = max(time for view in database.views() for _, time, _ in database.rows(view))
        now = datetime.fromisoformat(self.headers["perennial-time"])
        self.server.asked.append(Asked(now, rows, datetime.fromtimestamp(newest / 1e6, now.tzinfo)))
        status, answer = 200, {"predictions": [{"probability": row["amount"] / 1e4, "decision": False} for row in rows]}
        if self.server.refuses and any(row["shop_code"] == self.server.refuses for row in rows):
            status, answer = self.server.status, {"error": f"shop_code: found {self.server.refuses}"}  # type: ignore[dict-item]
        text = orjson.dumps(answer)
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The second project; the online store holds what was published until the begin."""
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(write_project(tmp_path / "project", per_day=PER_DAY))})
    store.apply(settings)
    store.materialize(settings, FIRST_DAY - timedelta(days=90), START, lambda _: None)
    return settings


@pytest.fixture
def server(settings: Settings) -> Iterator[Server]:
    server = Server(settings)
    with running(server):
        yield server


def replay_of(settings: Settings, server: Server, together: timedelta = timedelta(0)) -> Replay:
    return Replay(settings, read(settings.models / f"{NAME}.yaml"), server.url, together)


def payments(settings: Settings) -> pd.DataFrame:
    """Those of the stretch, in the order of their times."""
    frame = pd.read_parquet(settings.source("payments"))
    inside = frame["event_timestamp"].between(START, END, inclusive="left")
    return frame[inside].sort_values("event_timestamp", kind="stable", ignore_index=True)


def test_each_request_is_asked_for_alone_at_its_own_time_after_what_was_published(settings: Settings, server: Server) -> None:
    played, source = replay_of(settings, server).play(START, END), payments(settings)
    assert [call.rows[0]["payment_id"] for call in server.asked] == source["payment_id"].tolist()
    assert [call.now for call in server.asked] == [time.to_pydatetime() for time in source["event_timestamp"]]
    assert set(server.asked[0].rows[0]) == {"payment_id", "customer_id", "shop_code", "amount", "method"}
    pairs = pd.read_parquet(settings.source("pair"))["event_timestamp"]
    accounts = pd.read_parquet(settings.source("account"))["event_timestamp"]
    times = pd.concat([pairs, accounts]).sort_values()
    assert [call.published for call in server.asked] == [times[times <= call.now].max().to_pydatetime() for call in server.asked]
    assert (played.calls, played.answered, played.left_out, played.refusals) == (len(source), len(source), 0, ())
    assert played.answers["probability"].tolist() == (source["amount"] / 1e4).tolist()


def test_values_of_the_rest_of_the_stretch_are_written_too(settings: Settings, server: Server) -> None:
    replay_of(settings, server).play(START, END)
    last = max(
        pd.read_parquet(settings.source(name)).query("event_timestamp < @END")["event_timestamp"].max() for name in ("pair",)
    )
    with open_database(settings.online_store, write=False) as database:
        assert max(time for _, time, _ in database.rows("pair")) == last.value // 1000


def test_requests_of_an_hour_can_be_one_call_at_its_begin(settings: Settings, server: Server) -> None:
    played = replay_of(settings, server, timedelta(hours=6)).play(START, END)
    hours = payments(settings)["event_timestamp"].dt.floor("6h")
    assert [call.now for call in server.asked] == [time.to_pydatetime() for time in hours.unique()]
    assert [len(call.rows) for call in server.asked] == hours.value_counts(sort=False).tolist()
    assert played.answers["event_timestamp"].tolist() == hours.tolist()
    assert played.calls < played.answered == len(hours)


def test_what_was_answered_before_is_not_sent_again(settings: Settings, server: Server) -> None:
    ids = payments(settings)["payment_id"].tolist()
    replay = replay_of(settings, server)
    played = replay.play(START, END, frozenset(ids[:25]))
    assert [call.rows[0]["payment_id"] for call in server.asked] == ids[25:]
    assert (played.left_out, played.answered) == (25, len(ids) - 25)
    first = payments(settings)["event_timestamp"][25]
    assert replay.first(START, END, frozenset(ids[:25])) == first
    assert replay.first(START, END, frozenset(ids)) == END


def test_a_refused_call_is_counted_and_the_others_go_on(settings: Settings, server: Server) -> None:
    server.refuses = str(payments(settings)["shop_code"].iloc[0])
    refused = int((payments(settings)["shop_code"] == server.refuses).sum())
    played = replay_of(settings, server).play(START, END)
    assert len(played.refusals) == refused > 0
    assert played.answered == len(played.answers) - refused
    assert f"found {server.refuses}" in played.refusals[0]


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (503, PlatformError)])
def test_a_server_that_cannot_answer_ends_the_play(
    settings: Settings, server: Server, status: int, kind: type[Exception]
) -> None:
    server.refuses, server.status = str(payments(settings)["shop_code"].iloc[0]), status
    with pytest.raises(kind, match=f"answered {status} to a request of 2024-"):
        replay_of(settings, server).play(START, END)


def test_a_server_that_goes_by_its_own_clock_is_no_refusal_of_a_row(settings: Settings, server: Server) -> None:
    server.refuses = str(payments(settings)["shop_code"].iloc[0])

    class Clocked(Caller):
        def predict(self, *_: object) -> dict[str, object]:
            raise DataError("Perennial-Time: this server goes by its own clock; it was not started with --replay")

    with pytest.raises(DataError, match="not started with --replay"):
        replay_of(settings, server)._play(Clocked(server.url, NAME), START, END, frozenset())


def test_a_column_that_requests_lack_is_named(settings: Settings, server: Server) -> None:
    path = settings.source("payments")
    pd.read_parquet(path).drop(columns="method").to_parquet(path, index=False, coerce_timestamps="us")
    with pytest.raises(DataError, match="a request of chargeback needs the column method; found payment_id"):
        replay_of(settings, server).play(START, END)


@pytest.mark.parametrize("url", ["127.0.0.1:80", "https://a:80", "http://", "http://a:b", "http://a/x", "http://u@a"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match="allowed: http://HOST:PORT"):
        Caller(url, NAME)
    with Caller("http://127.0.0.1:1", NAME) as caller:
        assert not caller.is_ready()
        assert caller.version() is None
        with pytest.raises(PlatformError, match="no answer"):
            caller.predict([], START)
