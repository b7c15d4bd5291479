"""`perennial cluster check`: the table, the JSON, and when it ends well."""

import json as json_library
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from console import cluster
from console.cli import app
from controller.preflight import PreflightRow
from perennial.settings import Settings

SETTINGS = Settings.from_environment({"PERENNIAL_PROJECT": "/team"})
THERE = (
    PreflightRow("API server", "ok", "v1.34.4 at [here]"),
    PreflightRow("gateway", "not shown", "there is no Gateway", is_needed=False),
)
LACKING = (*THERE, PreflightRow("rights", "missing", "may not in team: get pods", "bind the Role [perennial]"))
UNSEEN = (*THERE, PreflightRow("objects", "not shown", "who asks may not see it", "ask as an administrator"))


def checked(monkeypatch: pytest.MonkeyPatch, rows: tuple[PreflightRow, ...], json: bool = False) -> bool:
    monkeypatch.setattr(cluster, "preflight", lambda *_: rows)
    return cluster.check(SETTINGS, lambda: datetime(2026, 1, 2, tzinfo=UTC), json)


def test_ends_well_only_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(monkeypatch, THERE)
    said = capsys.readouterr().out
    assert "not shown" in said and "Nothing is missing." in said and "[here]" in said
    assert not checked(monkeypatch, LACKING)
    said = capsys.readouterr().out
    assert "missing" in said and "1. rights: bind the Role [perennial]" in said and "Nothing is missing." not in said


def test_what_is_needed_and_not_seen_is_not_complete(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not checked(monkeypatch, UNSEEN)
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "1. objects: ask as an administrator" and "Nothing is missing." not in said
    assert not checked(monkeypatch, UNSEEN, json=True)
    assert json_library.loads(capsys.readouterr().out)["complete"] is False


def test_says_the_same_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert not checked(monkeypatch, LACKING, json=True)
    said = json_library.loads(capsys.readouterr().out)
    assert said["complete"] is False
    assert said["rows"][2] == {
        "name": "rights",
        "state": "missing",
        "found": "may not in team: get pods",
        "remedy": "bind the Role [perennial]",
        "is_needed": True,
    }


def test_the_command_ends_with_75_when_something_is_missing(tmp_path: Path) -> None:
    environment = {
        "PERENNIAL_PROJECT": str(tmp_path),
        "KUBECONFIG": str(tmp_path / "absent"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    run = CliRunner().invoke(app, ["cluster", "check", "--json"], env=environment)
    assert run.exit_code == 75
    assert json_library.loads(run.stdout)["rows"][0]["state"] == "missing"


def test_the_command_ends_with_75_when_what_is_needed_is_not_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "preflight", lambda *_: UNSEEN)
    run = CliRunner().invoke(app, ["cluster", "check"], env={"PERENNIAL_PROJECT": str(tmp_path)})
    assert run.exit_code == 75


def test_the_command_ends_with_0_when_nothing_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "preflight", lambda *_: THERE)
    run = CliRunner().invoke(app, ["cluster", "check"], env={"PERENNIAL_PROJECT": str(tmp_path)})
    assert run.exit_code == 0
