"""Objects are written once, folders come whole or not at all, and what a store refuses is said in time and without secrets."""

import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Barrier

import pytest

from perennial.errors import DataError, NotFoundError, PlatformError
from perennial.stores.bucket import Bucket
from tests.servers.s3 import S3

SECRET = "canary-of-the-secret-key"


@pytest.fixture
def bucket(s3: S3) -> Bucket:
    return Bucket(s3.bucket(), retry_seconds=1, request_seconds=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    for name in ("a.txt", "manifest.json", "z.bin"):
        (made / name).write_bytes(name.encode() * 1000)
    return made


def passes(_: Path) -> None:
    """A check without complaint."""


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_object_is_written_once(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"first")
    assert bucket.put("a/b", tmp_path / "file")
    assert not bucket.put("a/b", b"second")
    assert bucket.get("a/b") == b"first"
    bucket.replace("a/b", b"third")
    assert bucket.get("a/b") == b"third"


def test_of_writers_at_once_one_wins_and_its_content_stays(bucket: Bucket) -> None:
    begin = Barrier(8)

    def write(number: int) -> tuple[bool, bytes]:
        mine = b"%d" % number * 1000
        begin.wait()
        return bucket.put("contested", mine), mine

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(write, range(8)))
    assert [mine for won, mine in found if won] == [bucket.get("contested")]


def test_keys_are_those_below_the_prefix_and_the_key(bucket: Bucket, s3: S3) -> None:
    for key in ("a/2", "a/1", "a/b/3", "ab/4"):
        bucket.put(key, b"")
    assert bucket.keys("a/") == ["a/1", "a/2", "a/b/3"]
    assert [found.key for found in bucket.objects_after("a", "a/1")] == ["a/2", "a/b/3"]
    bucket.replace("a/2", b"four")
    (before,), (after, _) = bucket.objects_after("a", "a/2"), bucket.objects_after("a", "a/1")
    assert (before.size, after.size) == (0, 4)
    assert before.tag != after.tag
    assert bucket.keys("nothing/") == []
    beside = Bucket(bucket.uri + "-beside")
    assert beside.keys("a/") == []
    with pytest.raises(NotFoundError, match=r"perennial-beside/a/1: no such object"):
        beside.get("a/1")


def test_a_folder_goes_and_comes_back(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    bucket.put_folder(folder, "kept/x", last="manifest.json")
    bucket.fetch_folder("kept/x", tmp_path / "got" / "x", passes)
    assert content(tmp_path / "got" / "x") == content(folder)
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["x"]


def test_the_last_file_is_not_there_before_the_others(bucket: Bucket, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Bucket.put

    def breaks(self: Bucket, key: str, given: bytes | Path) -> bool:
        if key.endswith("z.bin"):
            raise PlatformError("away")
        return put(self, key, given)

    with monkeypatch.context() as patch, pytest.raises(PlatformError):
        patch.setattr(Bucket, "put", breaks)
        bucket.put_folder(folder, "kept/x", last="manifest.json")
    assert bucket.keys("kept/") == ["kept/x/a.txt"]
    bucket.put_folder(folder, "kept/x", last="manifest.json")
    assert bucket.keys("kept/") == [f"kept/x/{name}" for name in ("a.txt", "manifest.json", "z.bin")]


def test_a_folder_that_does_not_pass_is_not_kept(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    bucket.put_folder(folder, "kept/x", last="manifest.json")

    def complains(found: Path) -> None:
        assert (found.name, len(list(found.iterdir()))) == ("x", 3)
        raise DataError(f"{found / 'a.txt'}: was changed")

    with pytest.raises(DataError, match=f"^{bucket.uri}/kept/x/a.txt: was changed$"):
        bucket.fetch_folder("kept/x", tmp_path / "got" / "x", complains)
    assert list((tmp_path / "got").iterdir()) == []
    bucket.fetch_folder("kept/x", tmp_path / "got" / "x", passes)
    bucket.fetch_folder("kept/x", tmp_path / "got" / "x", complains)  # what is there stays, and is not asked for again


def test_a_fetch_that_breaks_off_leaves_nothing(bucket: Bucket, folder: Path, tmp_path: Path, s3: S3) -> None:
    bucket.put_folder(folder, "kept/x", last="manifest.json")
    get, stop = bucket.get, s3.stop

    def once(key: str) -> bytes:
        found = get(key)
        stop()
        return found

    with pytest.MonkeyPatch.context() as patch, pytest.raises(PlatformError, match="does not answer or refuses"):
        patch.setattr(bucket, "get", once)
        bucket.fetch_folder("kept/x", tmp_path / "got" / "x", passes)
    assert list((tmp_path / "got").iterdir()) == []


def test_what_is_not_there_is_not_found(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"/nothing: no such object$"):
        bucket.get("nothing")
    with pytest.raises(NotFoundError, match=r"/nothing: no such objects$"):
        bucket.fetch_folder("nothing", tmp_path / "x", passes)
    assert not (tmp_path / "x").exists()


def test_a_place_that_cannot_be_written_is_said(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    bucket.put_folder(folder, "x", last="manifest.json")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PlatformError, match=r"file/x: cannot be written: File exists"):
        bucket.fetch_folder("x", tmp_path / "file" / "x", passes)


def test_fetches_at_once_make_one_folder(bucket: Bucket, folder: Path, tmp_path: Path) -> None:
    bucket.put_folder(folder, "x", last="manifest.json")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bucket.fetch_folder("x", tmp_path / "got" / "x", passes), range(8)))
    assert [path.name for path in (tmp_path / "got").iterdir()] == ["x"]
    assert content(tmp_path / "got" / "x") == content(folder)


def asked(bucket: Bucket) -> Iterator[pytest.ExceptionInfo[PlatformError]]:
    """What each kind of question ends with; none may take longer than retries and one request."""
    for question in (lambda: bucket.put("x", b""), lambda: bucket.get("x"), lambda: bucket.keys("x/")):
        begin = time.monotonic()
        with pytest.raises(PlatformError, match=f"^{bucket.uri}/x/?: the object store does not answer or refuses: ") as found:
            question()
        assert time.monotonic() - begin < 6
        yield found


def test_a_store_that_is_away_is_said_in_time_and_comes_back(bucket: Bucket, s3: S3) -> None:
    s3.stop()
    assert len(list(asked(bucket))) == 3
    s3.start()
    assert bucket.put("x", b"")


def test_a_store_that_is_silent_is_said_in_time(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert len(list(asked(Bucket("s3://team/perennial", retry_seconds=1, request_seconds=1)))) == 3


def test_a_bucket_that_does_not_exist_is_not_an_object_that_does_not(s3: S3) -> None:
    assert [str(found.value).rpartition(": ")[2] for found in asked(Bucket("s3://nobody/perennial"))] == ["NoSuchBucket"] * 3


def test_who_is_not_known_is_refused_and_no_secret_is_shown(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.bucket()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with s3.guarded():
        refused = list(asked(Bucket(uri)))
    assert [str(found.value).rpartition(": ")[2] for found in refused] == ["InvalidAccessKeyId"] * 3
    for found in refused:
        assert SECRET not in "".join(traceback.format_exception(found.value))
    assert Bucket(uri).put("x", b"")


class Slow(BaseHTTPRequestHandler):
    """A store behind a slow line: each content takes two seconds, whatever its size."""

    contents: dict[str, bytes]

    def do_PUT(self) -> None:
        size = int(self.headers["Content-Length"])
        time.sleep(2)
        content = self.rfile.read(size)
        is_refused = self.headers.get("If-None-Match") == "*" and self.path in self.contents
        if not is_refused:
            self.contents[self.path] = content
        self.answer(412 if is_refused else 200, b"")

    def do_GET(self) -> None:
        self.answer(200, self.contents[self.path], pause=2)

    def answer(self, status: int, content: bytes, pause: float = 0) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(content)),
            "ETag": '"tag"',
            "Last-Modified": "Mon, 01 Apr 2013 00:00:00 GMT",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.flush()
        time.sleep(pause)
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def slow(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    handler = type("Handler", (Slow,), {"contents": {"/team/old": b"content"}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client hangs up
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    yield Bucket("s3://team", retry_seconds=1, request_seconds=1)
    server.shutdown()
    server.server_close()


def test_a_large_object_gets_the_time_that_it_needs(slow: Bucket, tmp_path: Path) -> None:
    large = b"x" * 4_000_000
    (tmp_path / "large").write_bytes(large)
    assert slow.put("large", tmp_path / "large")
    assert slow.get("large") == large
    assert not slow.put("large", large[:-1] + b"y"), "it is still left as it is"
    slow.replace("large", large[:-1] + b"y")
    assert slow.get("large")[-1:] == b"y"


def test_a_small_object_does_not(slow: Bucket) -> None:
    for question in (lambda: slow.put("small", b"x"), lambda: slow.get("old")):
        with pytest.raises(PlatformError, match="does not answer or refuses"):
            question()
