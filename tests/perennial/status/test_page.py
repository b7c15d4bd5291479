"""docs/status.md names every key, type, status and reason of `perennial status --json`, and no other."""

import json
import re
from pathlib import Path

import pytest

from console.display.status import show_status
from perennial.ledger import Ledger
from perennial.record import Record
from perennial.status.coming import Coming
from perennial.status.condition import MEANS, STATES, Condition, Reason, Type
from perennial.status.model_status import ModelStatus, ServerStatus
from tests.made_up import FIRST, settings_in

PAGE = (Path(__file__).parents[3] / "docs" / "status.md").read_text(encoding="utf-8")
OF_INSTALLATION = (Type.CONTROLLER_WATCHING, Type.STORES_ANSWER)


def below(title: str) -> str:
    """What stands between a title and the next."""
    _, found, rest = PAGE.partition(f"{title}\n")
    assert found, title
    return re.split(r"\n## |\nOf [a-z' ]+(?:,|:)", rest)[0]


def keys_below(title: str) -> list[str]:
    """The first column of the table below a title."""
    return re.findall(r"^\| `(\w+)` \|", below(title), re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "record"), [("Of a model's status:", ModelStatus), ("Of a condition, as Kubernetes has them:", Condition)]
)
def test_the_keys_of_a_record_are_those_of_the_page(title: str, record: type[Record]) -> None:
    assert keys_below(title) == list(record.model_fields)


def test_the_keys_of_parts_are_named_where_the_part_is() -> None:
    text = below("Of a model's status:")
    for part in (Coming, ServerStatus):
        for name in part.model_fields:
            assert f"`{name}`" in text


def test_the_keys_of_the_whole_answer_are_those_of_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(tmp_path)
    with Ledger.open(settings.ledger):
        show_status(settings, FIRST, FIRST, json=True)
    stated = json.loads(capsys.readouterr().out)
    assert list(stated) == keys_below("Of the whole answer:")
    assert Condition.model_validate(stated["controller"]).reason == Reason.NO_CONTROLLER
    assert Condition.model_validate(stated["stores"]).reason == Reason.ALL_STORES_ANSWER
    assert ModelStatus.model_validate(stated["models"][0]).state == Reason.NOT_TRAINED


def test_every_reason_has_one_row_with_its_type_and_status() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \| .+ \|$", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted((reason.value, kind.value, status) for reason, (kind, status) in MEANS.items())
    assert set(MEANS) == set(Reason)
    assert {kind for kind, _ in MEANS.values()} == set(Type)


def test_the_reasons_stand_in_their_groups_and_states_in_their_order() -> None:
    assert keys_below("## Reasons that name a state") == [reason.value for reason in STATES]
    installation = keys_below("## Reasons of the installation")
    assert set(installation) == {reason.value for reason, (kind, _) in MEANS.items() if kind in OF_INSTALLATION}


def test_types_and_reasons_are_words_as_kubernetes_has_them() -> None:
    for constant in [*Type, *Reason]:
        assert re.fullmatch(r"([A-Z][a-z]+)+", constant.value), constant
