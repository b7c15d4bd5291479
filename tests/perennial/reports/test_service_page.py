"""The page of a model in service shows what is stored, needs nothing else, and says what is not known."""

import dataclasses
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from perennial.ledger import Ledger
from perennial.loop.decision import Fact
from perennial.loop.rollout import Observation
from perennial.reports import service_plots
from perennial.reports.service_page import History, StatusLine, gain, gain_in_words, reigns, year
from perennial.spec.read import read
from tests.html_pages import check_alone, tables_of
from tests.made_up import (
    DIGESTS,
    FIRST,
    NAME,
    WEEK,
    add_version,
    add_window,
    broken,
    column,
    measurement,
    performance,
    settings_in,
    write_year,
)

ATTACK = '<script>alert("x")</script><img src=x onerror=alert(1)>'
STATUS = StatusLine(
    state="watched", how="version 3 knows labels up to May", next="nothing; more: `perennial explain churn`", is_ordinary=True
)


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
    return year(lived, STATUS)


def test_the_page_needs_nothing_else_and_has_a_plain_table_beside_every_picture(text: str, lived: History) -> None:
    pictures = [attributes for tag, attributes in check_alone(text).tags if tag == "img"]
    assert len(pictures) == len(service_plots.TITLES) == 4
    tables = tables_of(text)
    assert len(tables) == 5 + 2 * len(lived.decisions)
    assert all("<caption>" in table for table in tables)


def test_the_page_begins_with_how_the_model_is_and_what_happens_next(text: str, lived: History) -> None:
    body = text.partition("<body>")[2].split()
    said = "<strong>Watched:</strong> version 3 knows labels up to May. <strong>Next:</strong> nothing; more: "
    line = f'<h1>churn: in service</h1> <p class="state registered"><span>{said}<code>perennial explain churn</code>.</span></p>'
    assert " ".join(body).startswith(line)
    waiting = dataclasses.replace(STATUS, state="waits for a person", is_ordinary=False)
    assert '<p class="state stopped"><span><strong>Waits for a person:</strong>' in year(lived, waiting)


def entries_of(text: str) -> list[str]:
    """The decisions of the history, as they stand on the page."""
    return re.findall(r"<details>.*?</details>", text, flags=re.DOTALL)


def test_each_decision_opens_to_its_evidence(text: str, lived: History) -> None:
    entries = entries_of(text)
    assert len(entries) == len(lived.decisions)
    for entry, decision in zip(entries, reversed(lived.decisions), strict=True):
        title = entry.partition("<summary>")[2].partition("</summary>")[0]
        assert title.startswith(f"{decision.number} · {decision.made:%Y-%m-%d} · <strong>{decision.title}</strong>")
        assert decision.sentence in title and decision.otherwise in entry and f"<code>{decision.cause}</code>" in entry
        for fact in decision.facts:
            assert re.search(rf"{fact.name}</th>.*0\.5<.*0\.6<.*{fact.sentence}", entry)
        for start in decision.windows:
            assert f'<th scope="row">{start:%Y-%m-%d}</th>' in entry


def test_a_decision_made_in_an_incident_names_it_and_others_do_not(text: str, lived: History) -> None:
    (incident,) = lived.incidents
    shown = [entry for entry in entries_of(text) if "Incident 1" in entry]
    inside = [one for one in lived.decisions if incident.closed and incident.opened <= one.made < incident.closed]
    assert len(shown) == len(inside) > 0
    assert "40 % of pair_spend are missing; payments team acts" in shown[-1] and "two clean windows" in shown[-1]


def test_a_decision_tells_how_good_the_windows_were_that_it_judged(lived: History) -> None:
    judged = lived.decisions[0].model_copy(
        update={"judged": lived.decisions[0].windows, "facts": (), "outcome": "run r1: stopped"}
    )
    (entry,) = entries_of(year(dataclasses.replace(lived, decisions=(judged,)), STATUS))
    assert "No fact is stored with it." in entry and "run r1: stopped" in entry
    assert re.search(r"0\.708 \(0\.688 to 0\.728\)</td>.*<td>no</td>", entry)
    (unjudged,) = entries_of(year(dataclasses.replace(lived, decisions=(judged.model_copy(update={"judged": ()}),)), STATUS))
    assert "<td>labels not matured</td>" in unjudged


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
    shown = year(dataclasses.replace(found, incidents=(again,)), STATUS)
    assert "An incident is open: payments team acts." in shown
    assert "open: 0 of 2 clean" in shown


def test_a_single_window_without_labels_or_decisions_makes_a_page(ledger: Ledger, tmp_path: Path) -> None:
    add_window(ledger, 0, measurement())
    shown = year(history_of(ledger, tmp_path), STATUS)
    assert shown.count("<img") == 2
    for said in ("Nothing was decided yet.", "No version had traffic.", "The data was never broken.", "cannot be said"):
        assert said in shown


def test_what_a_spec_says_cannot_become_markup(lived: History) -> None:
    spec = lived.model.spec.model_copy(update={"description": ATTACK, "owner": "a & <b>"})
    shown = year(dataclasses.replace(lived, model=lived.model.model_copy(update={"spec": spec})), STATUS)
    assert "<script" not in shown and "&lt;script&gt;" in shown and "a &amp; &lt;b&gt;" in shown


def test_no_name_reason_or_column_can_become_markup(lived: History) -> None:
    record = lived.windows[0]
    columns = (column(ATTACK, 0.5, 0.1, alarm=True),)
    measured = record.measurement.model_copy(update={"columns": columns, "checks": (broken(ATTACK),)})
    fact = Fact(name=ATTACK, value=1.0, limit=None, sentence=ATTACK)
    said = {
        "sentence": ATTACK,
        "otherwise": ATTACK,
        "outcome": ATTACK,
        "cause": ATTACK,
        "facts": (fact,),
        "windows": (record.start,),
    }
    opened = {"seen": ATTACK, "owner": ATTACK, "closing": ATTACK, "opened": FIRST}
    hostile = dataclasses.replace(
        lived,
        windows=(record.model_copy(update={"measurement": measured}),),
        decisions=(lived.decisions[0].model_copy(update=said),),
        incidents=(lived.incidents[0].model_copy(update=opened),),
    )
    shown = year(hostile, StatusLine(state=ATTACK, how=f"`{ATTACK}` {ATTACK}", next=ATTACK, is_ordinary=False))
    check_alone(shown)
    assert shown.count("&lt;script&gt;") >= 15


def test_the_same_records_make_the_same_page(lived: History, text: str) -> None:
    assert year(lived, STATUS) == text


def test_the_gain_of_several_windows_adds_up_and_its_error_grows_with_the_root(ledger: Ledger) -> None:
    for week in range(4):
        judged = performance(FIRST + (week + 1) * WEEK, auc=0.71, frozen=0.70, arrived=1000)
        add_window(ledger, week, measurement(), judged)
    found = gain(ledger.windows(NAME))
    assert found is not None
    assert found.value == pytest.approx(4 * 2.0)
    assert found.standard_error == pytest.approx(2 * 4.0)
    assert found.low < 0 < found.high
    assert gain(ledger.windows(NAME)[:0]) is None
    assert "8 (-8 to 24) euros more, which may be chance, over 4 windows," in gain_in_words(ledger.windows(NAME), "euros")


def test_a_loss_is_said_as_a_loss(ledger: Ledger) -> None:
    add_window(ledger, 0, measurement(), performance(FIRST + WEEK, auc=0.6, frozen=0.8, arrived=1000))
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
