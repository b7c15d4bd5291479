"""The console writes requests to the ledger and nothing else: what they ask for is the controller's to do."""

import ast
import inspect

from perennial.ledger import Ledger
from tests.test_layout import ROOT

ALLOWED = {"add_request"}


def writes() -> set[str]:
    """Names of the ledger's methods that write."""
    methods = inspect.getmembers(Ledger, inspect.isfunction)
    return {name for name, method in methods if "self._write()" in inspect.getsource(method) and not name.startswith("_")}


def written_by(source: str) -> set[str]:
    """Names of those that a module calls."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return {call.attr for call in calls if isinstance(call, ast.Attribute)} & writes()


def test_the_console_writes_requests_only() -> None:
    assert len(writes()) > 20
    files = sorted((ROOT / "console").rglob("*.py"))
    written = {file.name: written_by(file.read_text(encoding="utf-8")) - ALLOWED for file in files}
    assert {name: calls for name, calls in written.items() if calls} == {}


def test_a_command_that_acts_itself_is_found() -> None:
    assert written_by("with Ledger.open(url) as ledger:\n    ledger.close_incident(model, 1)\n") == {"close_incident"}
    assert written_by("ledger.add_request(model, wish)\nledger.decisions(model)\n") == {"add_request"}
