"""URLs of SQLite files are those that SQLAlchemy itself makes, whatever signs a path holds."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from perennial.settings import Settings
from perennial.sqlite import file_of, url_of

ODD = ["plain", "a b", "[a]*", "50%", "%20", "q?x=1", "a#b", "it's", "a+b&c=d", "ünïcödé-文", ";:@,~", "back\\slash"]


@pytest.mark.parametrize("name", ODD)
def test_a_url_is_the_one_that_sqlalchemy_makes_and_opens(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "store.db"
    file.parent.mkdir()
    url = url_of(file)
    assert url == URL.create("sqlite", database=str(file)).render_as_string()
    assert make_url(url).database == str(file) and file_of(url) == file
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("create table t (x integer)"))
    engine.dispose()
    assert [path.name for path in file.parent.iterdir()] == ["store.db"]
    with sqlite3.connect(file) as database:
        assert database.execute("select name from sqlite_master").fetchall() == [("t",)]
    database.close()


@pytest.mark.parametrize("name", ODD)
def test_the_settings_of_a_child_process_name_the_same_files(tmp_path: Path, name: str) -> None:
    settings = Settings.from_environment({"PERENNIAL_PROJECT": str(tmp_path / name)})
    assert Settings.from_environment(settings.to_environment()) == settings
    assert file_of(settings.ledger) == tmp_path / name / ".perennial" / "ledger.db"
