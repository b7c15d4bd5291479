"""The page of a model in service shows what is stored, needs nothing else, and says what is not known."""

import dataclasses
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from perennial.ledger import Ledger
from perennial.loop.rollout import Observation
from perennial.reports import service_plots as year_plots
from perennial.reports.service_page import History, gain, gain_in_words, reigns, year
from perennial.spec.read import read
from tests.made_up import DIGESTS, FIRST, NAME, WEEK, add_version, add_window, measurement, performance, settings_in, write_year


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


def history_of(ledger: Ledger, folder: Path) -> History:
    return History(
        model=read(settings_in(folder).models / f"{NAME}.yaml"),
        windows=ledger.windows(NAME)[::-1],
        decisions=ledger.decisions(NAME)[::-1],
        incidents=ledger.incidents(NAME)[::-1],
        reigns=reigns(ledger.rollouts(NAME)),
    )


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> History:
    """Twenty-two weeks in service."""
    folder = tmp_path_factory.mktemp("lived")
    with Ledger.open(f"sqlite:///{folder / 'ledger.db'}") as opened:
        write_year(opened, weeks=22)
        return history_of(opened, folder)


@pytest.fixture(scope="module")
def text(lived: History) -> str:
    return year(lived)


def test_the_page_needs_nothing_else_and_has_a_plain_table_beside_every_picture(text: str) -> None:
    assert "<script" not in text and "<link" not in text and "http" not in text and "url(" not in text
    assert text.count("<img") == len(year_plots.TITLES) == 4
    tables = re.findall(r"<table>.*?</table>", text, flags=re.DOTALL)
    assert len(tables) == 6
    for table in tables:
        width = table.count('scope="col"')
        assert "<caption>" in table
        for row in re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1]):
            assert row.count("<td") + row.count("<th") == width


def test_the_page_tells_windows_decisions_champions_incidents_and_alarms(text: str, lived: History) -> None:
    for said in (
        "22 windows from 2024-04-01 to 2024-09-02",
        "Versions that had the traffic: 3",
        "No incident is open",
        "40 % of pair_spend are missing.",
        "two clean windows",
        "0.720 (0.700 to 0.740)",
        "not matured",
        "nulls pair_spend",
    ):
        assert said in text
    for decision in lived.decisions:
        assert decision.sentence in text and decision.otherwise in text
    row = re.search(r'<tr><th scope="row">amount</th>.*?</tr>', text)
    assert row is not None and "2024-05-20" in row[0] and ">2<" in row[0]


def test_an_open_incident_stands_at_the_top(ledger: Ledger, tmp_path: Path) -> None:
    write_year(ledger, weeks=16)
    found = history_of(ledger, tmp_path)
    again = found.incidents[0].model_copy(update={"closed": None, "closing": ""})
    shown = year(dataclasses.replace(found, incidents=(again,)))
    assert "An incident is open: payments team acts." in shown
    assert "open: 0 of 2 clean" in shown


def test_a_single_window_without_labels_or_decisions_makes_a_page(ledger: Ledger, tmp_path: Path) -> None:
    add_window(ledger, 0, measurement())
    shown = year(history_of(ledger, tmp_path))
    assert shown.count("<img") == 2
    for said in ("Nothing was decided yet.", "No version had traffic.", "The data was never broken.", "cannot be said"):
        assert said in shown


def test_what_a_spec_says_cannot_become_markup(lived: History) -> None:
    spec = lived.model.spec.model_copy(update={"description": "<script>alert(1)</script>", "owner": "a & <b>"})
    shown = year(dataclasses.replace(lived, model=lived.model.model_copy(update={"spec": spec})))
    assert "<script" not in shown and "&lt;script&gt;" in shown and "a &amp; &lt;b&gt;" in shown


def test_the_same_records_make_the_same_page(lived: History, text: str) -> None:
    assert year(lived) == text


def test_the_gain_of_several_windows_adds_up_and_its_error_grows_with_the_root(ledger: Ledger) -> None:
    for week in range(4):
        judged = performance(FIRST + (week + 1) * WEEK, auc=0.71, alone=0.70, arrived=1000)
        add_window(ledger, week, measurement(), judged)
    found = gain(ledger.windows(NAME))
    assert found is not None
    assert found.value == pytest.approx(4 * 2.0)
    assert found.standard_error == pytest.approx(2 * 4.0)
    assert found.low < 0 < found.high
    assert gain(ledger.windows(NAME)[:0]) is None
    assert "8 (-8 to 24) euros more, which may be chance, over 4 windows," in gain_in_words(ledger.windows(NAME), "euros")


def test_a_loss_is_said_as_a_loss(ledger: Ledger) -> None:
    add_window(ledger, 0, measurement(), performance(FIRST + WEEK, auc=0.6, alone=0.8, arrived=1000))
    assert "has brought 40 (32 to 48) euros less, over 1 window." in gain_in_words(ledger.windows(NAME), "euros")


def test_a_reign_ends_with_the_next_champion_and_a_rollback_brings_the_one_before(ledger: Ledger) -> None:
    add_version(ledger, 1, FIRST)
    add_version(ledger, 2, FIRST + 4 * WEEK)
    first, second = FIRST + timedelta(days=3), FIRST + 4 * WEEK + timedelta(days=3)
    assert [(one.number, one.since, one.until) for one in reigns(ledger.rollouts(NAME))] == [
        (1, first, second),
        (2, second, None),
    ]
    back = second + WEEK
    left = Observation(seen="rolled back", digest=DIGESTS[1], time=back, reason="complaints")
    ledger.move_rollout(ledger.rollouts(NAME)[0], left)
    found = [(one.number, one.since, one.until) for one in reigns(ledger.rollouts(NAME))]
    assert found == [(1, first, second), (2, second, back), (1, back, None)]
