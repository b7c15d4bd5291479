"""What writers and servers may rely on, whatever holds the store: the same tests for the file and for Redis."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from feature_repo.online_store.database import open_database, open_lookup
from feature_repo.online_store.interface import Row
from feature_repo.online_store.layout import Field, Layout, key_encoder
from perennial.errors import DataError, NotFoundError, PlatformError

KEY = Field(name="k", kind="int64")


def layout_named(view: str, kind: str = "float64") -> Layout:
    return Layout.model_validate({"view": view, "join_keys": (KEY,), "fields": ({"name": "x", "kind": kind},)})


ONE, TWO = layout_named("one"), layout_named("two")


def row(key: int, time: int, value: float, layout: Layout = ONE) -> Row:
    return key_encoder([KEY])([key]), time, layout.encode([value])


@pytest.fixture
def where(new_store: Callable[[], str]) -> str:
    """A store that knows two views."""
    made = new_store()
    with open_database(made) as database:
        database.keep_layouts([ONE, TWO])
    return made


def write(where: str, *rows: Row, layout: Layout = ONE) -> None:
    with open_database(where) as database:
        database.write(layout, rows)


def stored(where: str, view: str = "one") -> list[Row]:
    with open_database(where, write=False) as database:
        return list(database.rows(view))


def test_a_value_is_replaced_by_one_that_is_not_older(where: str) -> None:
    write(where, row(1, 10, 0.1), row(1, 9, 0.2), row(2, 10, 0.3), row(2, 10, 0.4))
    assert stored(where) == [row(1, 10, 0.1), row(2, 10, 0.4)], "within one write"
    write(where, row(1, 9, 0.5), row(2, 11, 0.6))
    assert stored(where) == [row(1, 10, 0.1), row(2, 11, 0.6)], "by a later write"


@pytest.mark.parametrize("time", [-1_700_000_000_000_000, -1, 0, 1_700_000_000_000_001, 2**53 - 2])
def test_a_microsecond_decides_at_any_time(where: str, time: int) -> None:
    write(where, row(1, time, 0.5))
    write(where, row(1, time - 1, 1.5))
    assert stored(where) == [row(1, time, 0.5)]
    write(where, row(1, time + 1, 2.5))
    assert stored(where) == [row(1, time + 1, 2.5)]


def test_what_is_read_is_in_the_order_of_the_keys(where: str) -> None:
    write(where, row(1, 10, 0.1), row(3, -5, 0.3))
    keys = [row(key, 0, 0)[0] for key in (3, 2, 1, 3)]
    with open_database(where, write=False) as database:
        assert database.read("one", keys) == [row(3, -5, 0.3)[1:], None, row(1, 10, 0.1)[1:], row(3, -5, 0.3)[1:]]
        assert database.read("two", keys) == [None] * 4
        assert database.read("one", []) == []
    lookup = open_lookup(where)
    wanted = [(ONE.name, key) for key in keys] + [(TWO.name, keys[0])]
    assert lookup.values(wanted) == [row(3, 0, 0.3)[2], None, row(1, 0, 0.1)[2], row(3, 0, 0.3)[2], None]
    lookup.close()
    assert lookup.values(wanted[:1]) == [row(3, 0, 0.3)[2]], "opened again"
    lookup.close()


def test_an_interval_excludes_its_begin_and_includes_its_end(where: str) -> None:
    write(where, *(row(key, key, 0.5) for key in range(-2, 5)))
    with open_database(where, write=False) as database:
        counts = [database.count("one", *ends) for ends in ((-3, 4), (-2, 4), (0, 3), (3, 3), (4, 9))]
        assert counts == [7, 6, 3, 0, 0]
        assert database.count("two", -3, 4) == 0


def test_more_rows_than_one_step_takes_are_all_written_counted_and_dropped(where: str) -> None:
    rows = [row(key, key, key / 7) for key in range(12_345)]
    write(where, *rows)
    assert stored(where) == sorted(rows)
    with open_database(where) as database:
        assert database.count("one", -1, 20_000) == len(rows)
        database.drop(["one"])
    assert stored(where) == []


def test_views_are_told_apart_whatever_their_names(new_store: Callable[[], str]) -> None:
    where, names = new_store(), ["a", "a:b", "a*", "?", "[a]", "\\a", "ä"]
    layouts = [layout_named(name) for name in names]
    with open_database(where) as database:
        database.keep_layouts(layouts)
        for number, layout in enumerate(layouts):
            database.write(layout, [row(number, number, 0.5, layout)])
        assert database.views() == sorted(names)
        assert [database.layout(name) for name in names] == layouts
    for number, layout in enumerate(layouts):
        assert stored(where, layout.view) == [row(number, number, 0.5, layout)]
    with open_database(where) as database:
        database.drop(["a*", "?"])
        assert database.views() == sorted(set(names) - {"a*", "?"})
    assert [len(stored(where, name)) for name in names] == [1, 1, 0, 0, 1, 1, 1]


def test_stores_are_told_apart(new_store: Callable[[], str]) -> None:
    first, second = new_store(), new_store()
    for where, value in ((first, 0.5), (second, 1.5)):
        with open_database(where) as database:
            database.keep_layouts([ONE])
        write(where, row(1, 1, value))
    with open_database(first) as database:
        database.drop(["one"])
    assert stored(first) == []
    assert stored(second) == [row(1, 1, 1.5)]


def test_values_of_an_older_layout_stay_beside_the_current_ones_until_nobody_needs_them(where: str) -> None:
    write(where, row(1, 1, 0.5))
    write(where, row(1, 1, 0.5, TWO), layout=TWO)
    changed = layout_named("one", "float32")
    with open_database(where) as database:
        database.keep_layouts([ONE])
        assert database.count("one", 0, 1) == 1, "the same layout takes nothing away"
        database.keep_layouts([changed])
        assert database.layout("one") == changed and database.count("one", 0, 1) == 0
        assert {layout.name for layout in database.held()} == {ONE.name, TWO.name, changed.name}
        assert database.views() == ["one", "two"]
    assert (stored(where), stored(where, ONE.name), stored(where, "two")) == ([], [row(1, 1, 0.5)], [row(1, 1, 0.5, TWO)])
    write(where, row(2, 2, 0.75))
    assert [found[1] for found in stored(where, ONE.name)] == [1, 2], "the kept layout is still written"
    lookup = open_lookup(where)
    assert lookup.layouts() == {"one": {ONE.digest, changed.digest}, "two": {TWO.digest}}
    assert lookup.values([(ONE.name, row(1, 1, 0.5)[0]), (changed.name, row(1, 1, 0.5)[0])]) == [row(1, 1, 0.5)[2], None]
    with open_database(where) as database:
        assert database.purge({("one", ONE.digest)}) == []
        assert database.purge(set()) == [ONE]
    assert (stored(where, ONE.name), stored(where, "two")) == ([], [row(1, 1, 0.5, TWO)])
    assert lookup.layouts() == {"one": {changed.digest}, "two": {TWO.digest}}
    lookup.close()
    with pytest.raises(DataError, match=f"view 'one' has layout {changed.digest.hex()}, these values {ONE.digest.hex()}"):
        write(where, row(1, 1, 0.5))
    assert stored(where, ONE.name) == []


def test_a_view_that_left_the_definitions_keeps_its_values_until_nobody_needs_them(where: str) -> None:
    write(where, row(1, 1, 0.5))
    with open_database(where) as database:
        database.forget(["one"])
        assert database.views() == ["two"] and database.purge({("one", ONE.digest)}) == []
    assert stored(where, ONE.name) == [row(1, 1, 0.5)]
    with open_database(where) as database:
        assert database.purge({("two", TWO.digest)}) == [ONE]
        assert [layout.name for layout in database.held()] == [TWO.name]
    assert stored(where, ONE.name) == []


def test_a_file_of_the_release_before_is_read_and_written(tmp_path: Path) -> None:
    def made_before(name: str) -> str:
        path = str(tmp_path / name)
        with sqlite3.connect(path) as database:
            database.executescript(
                "create table layouts (view text primary key, digest blob not null, layout text not null) without rowid;"
                "create table feature_values (view text not null, key blob not null, event_timestamp integer not null,"
                " value blob not null, primary key (view, key)) without rowid;"
            )
            database.execute("insert into layouts values (?, ?, ?)", ("one", ONE.digest, ONE.model_dump_json()))
            database.execute("insert into feature_values values (?, ?, ?, ?)", ("one", *row(1, 1, 0.5)))
        database.close()
        return path

    lookup = open_lookup(made_before("served.db"))
    assert lookup.layouts() == {"one": {ONE.digest}}
    assert lookup.values([(ONE.name, row(1, 1, 0.5)[0])]) == [row(1, 1, 0.5)[2]]
    lookup.close()
    written = made_before("written.db")
    write(written, row(2, 2, 1.5))
    assert stored(written) == [row(1, 1, 0.5), row(2, 2, 1.5)]


def test_a_view_that_was_never_applied_is_named(where: str) -> None:
    with open_database(where) as database, pytest.raises(NotFoundError, match="no view 'three'; it has one, two; `perennial"):
        database.layout("three")


def test_a_server_says_that_nothing_was_ever_applied(new_store: Callable[[], str]) -> None:
    lookup = open_lookup(new_store())
    with pytest.raises(PlatformError, match="the online store does not answer"):
        lookup.answers()
    lookup.close()


def test_a_server_sees_what_was_written_since_it_opened_the_store(where: str) -> None:
    lookup, (key, _, value) = open_lookup(where), row(1, 1, 0.5)
    lookup.answers()
    assert lookup.values([(ONE.name, key)]) == [None]
    write(where, row(1, 1, 0.5))
    assert lookup.values([(ONE.name, key)]) == [value]
    lookup.close()
