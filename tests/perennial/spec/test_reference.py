"""The reference page: current and complete."""

from pathlib import Path

from perennial.spec.model import Model
from perennial.spec.reference import reference
from perennial.spec.shape import fields

PAGE = Path(__file__).parents[3] / "docs" / "spec.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python -m perennial.spec.reference"


def test_every_field_has_a_row_with_its_meaning() -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    tables = [part for section in sections for part in section.split("\n### ")]
    for _, owner, name, field in fields(Model):
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        documented = " ".join((owner.__doc__ or "").split())
        mine = [table for table in tables if f"\n\n{documented}\n\n" in table]
        assert mine, owner
        assert all(f"| `{name}` | " in table and meaning in table for table in mine), f"{owner.__name__}.{name}"


def test_every_row_has_all_cells() -> None:
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            assert line.replace("\\|", "").count("|") == 6, line


def test_every_kind_has_a_table() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for kind in ("expanding", "sliding", "logistic", "random_forest", "gradient_boosting", "none", "sigmoid", "isotonic"):
        assert f"with `kind: {kind}`" in page
