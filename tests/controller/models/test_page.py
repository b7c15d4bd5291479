"""docs/models-on-kubernetes.md names every condition, reason, annotation and right, and no other."""

import re
from pathlib import Path

from controller.models.annotations import KNOWN
from controller.models.conditions import MEANS
from controller.preflight.rights import FOLLOWING

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "models-on-kubernetes.md").read_text(encoding="utf-8")
CODE = (ROOT / "controller" / "models" / "conditions.py").read_text(encoding="utf-8")


def test_every_reason_of_a_condition_has_one_row_in_the_order_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(True|False|Unknown)` \| .+ \|$", PAGE, re.MULTILINE)
    assert rows == [(kind.value, reason.value, status) for (kind, reason), status in MEANS.items()]


def test_a_reason_means_on_the_page_what_it_means_in_the_code() -> None:
    meanings = dict(re.findall(r'^    [A-Z_]+ = "(\w+)"\n    """(.+)\."""$', CODE, re.MULTILINE))
    for reason, said in re.findall(r"^\| `\w+` \| `(\w+)` \| `\w+` \| (.+) \|$", PAGE, re.MULTILINE):
        assert said == meanings[reason], reason


def test_every_annotation_has_a_row() -> None:
    assert re.findall(r"^\| `(perennial\.dev/\w+)` \|", PAGE, re.MULTILINE) == list(KNOWN)


def test_the_rights_of_the_controller_are_told() -> None:
    assert "| the controller | list and patch Models, patch their status |" in PAGE
    assert FOLLOWING == {("perennial.dev", "models"): ("list", "patch"), ("perennial.dev", "models/status"): ("patch",)}
