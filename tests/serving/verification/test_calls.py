"""What a call brings, and what an answer says of the version."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from perennial.errors import PlatformError
from serving.verification.calls import calls_of
from tests.serving.verification.refit import ROWS, change_contract, check, failed, put_server, reference
from tests.serving.world import plan

SERVER = """\
#!{python}
import http.server, sys

class Answers(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = b'{{"error": "said so"}}'
        self.send_response(200 if self.command == "GET" else {status})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
print(f"serving {{sys.argv}} on http://127.0.0.1:{{server.server_port}}", flush=True)
server.serve_forever()
"""
"""A server whose every answer to a prediction has one status."""


def test_a_call_brings_keys_and_fields_and_stores_what_was_found() -> None:
    frame = reference().assign(probability=0.5)
    calls = {call.id: call for call in calls_of(frame, plan(), ROWS)}
    for row in frame.to_dict("records"):
        call = calls[row["order"]]
        [instance] = json.loads(call.body)["instances"]
        assert list(instance) == ["amount", "hour", "method", "gift", "unseen", "customer", "shop"]
        assert instance["customer"] == row["customer"]
        found = [view.view for view in plan().views if not pd.isna(row[view.observed_at])]
        assert [layout.view for layout, _ in call.stored] == found


@pytest.mark.parametrize("status", [500, 503])
def test_an_answer_that_may_come_later_says_nothing_of_the_version(
    files: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    put_server(tmp_path, monkeypatch, SERVER.format(python=sys.executable, status=status))
    if status == 500:
        assert "was answered with 500: said so" in failed(check(files))
    else:
        with pytest.raises(PlatformError, match="was answered with 503: said so"):
            check(files)


def test_fires_when_a_row_of_the_training_data_is_refused(files: Path) -> None:
    change_contract(files, plan=plan("reject"))
    assert "got no probability, although it was trained on; rejected for sky" in failed(check(files))
