"""What an error of the ledger's database means: what it cannot do now, or what it does not understand."""

import pytest
from sqlalchemy import text

from perennial.errors import PlatformError, UnexpectedError
from perennial.ledger import Ledger
from tests.perennial.ledger.conftest import held


@pytest.mark.parametrize("statement", ["select * from missing", "selec 1"])
def test_a_statement_that_the_database_does_not_understand_is_a_bug(ledger: Ledger, statement: str) -> None:
    with (
        pytest.raises(UnexpectedError, match=r"^ledger .*: (sqlite3|psycopg)\..*trying again is useless"),
        ledger._read() as found,
    ):
        found.execute(text(statement))


def test_a_database_that_is_held_may_be_free_later(url: str) -> None:
    with Ledger.open(url, wait_seconds=0.1) as ledger, held(url), pytest.raises(PlatformError, match="wait for its end"):
        ledger.end_claim("x", state="done", now=None)  # type: ignore[arg-type]


def test_a_server_that_is_away_may_be_back_later() -> None:
    with pytest.raises(PlatformError, match="see that the server runs"):
        Ledger.open("postgresql+psycopg://me@127.0.0.1:1/ledger")
