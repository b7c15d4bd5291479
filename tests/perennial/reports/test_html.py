"""Every page shares one layout and one style sheet, escapes what it is given, and its templates are shipped."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import jinja2
import pytest

from perennial.reports.blocks import (
    Banner,
    Block,
    FoldedBlock,
    Gallery,
    Heading,
    Mark,
    Paragraph,
    Picture,
    Points,
    Table,
    code,
    strong,
)
from perennial.reports.card import card, card_page
from perennial.reports.html import TEMPLATES, page
from perennial.reports.markdown import markdown
from perennial.reports.run_page import plots_page, report
from perennial.reports.summary import summary, summary_page
from perennial.versions.findings import Findings
from tests.html_pages import check_alone, tables_of

ROOT = Path(__file__).parents[3]
ATTACK = '<script>alert("x")</script>'


def pages_of(findings: Findings) -> dict[str, str]:
    assert findings.judgement is not None and findings.candidate is not None
    return {
        "run": report(findings),
        "plots": plots_page(findings.model, findings.judgement, findings.candidate),
        "card": card_page(findings, ("weight: too few weeks",)),
        "summary": summary_page(findings, (), "d" * 64),
    }


def hostile(value: object) -> object:
    """A stored value with markup in each of its texts that may hold any."""
    if isinstance(value, dict):
        return {key: item if key in FIXED else hostile(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return f"{ATTACK}{value}" if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\dT", value) else value


FIXED = {"verdict", "kind", "mode", "dtype", "on_stale"}
"""Fields whose values are one of a list."""


def attacked(findings: Findings) -> Findings:
    """Findings whose every text outside the spec's own names is an attack."""
    assert findings.judgement is not None and findings.candidate is not None and findings.gates is not None
    spec = findings.model.spec
    objective = spec.objective.model_copy(update={"question": ATTACK, "action": ATTACK})
    criteria = tuple(criterion.model_copy(update={"why": ATTACK}) for criterion in objective.success_criteria)
    objective = objective.model_copy(update={"success_criteria": criteria})
    changed = {"description": ATTACK, "owner": ATTACK, "objective": objective}
    changed["label"] = spec.label.model_copy(update={"never": ATTACK})
    parts = {}
    for name in ("info", "validation", "candidate", "judgement", "gates"):
        record = getattr(findings, name)
        parts[name] = type(record).model_validate(hostile(record.model_dump(mode="json")))
    model = findings.model.model_copy(update={"spec": spec.model_copy(update=changed)})
    return Findings(model=model, contract=findings.contract, **parts)


def test_every_page_has_the_same_head_and_the_one_style_sheet(findings: Findings) -> None:
    heads = {re.sub(r"<title>.*?</title>", "", text.partition("<body>")[0]) for text in pages_of(findings).values()}
    (head,) = heads
    assert (TEMPLATES / "style.css").read_text(encoding="utf-8").rstrip() in head
    assert head.startswith('<!doctype html>\n<html lang="en">') and 'name="viewport"' in head


@pytest.mark.parametrize("name", ["run", "plots", "card", "summary"])
def test_every_page_needs_nothing_else(name: str, findings: Findings) -> None:
    text = pages_of(findings)[name]
    headings = [tag for tag, _ in check_alone(text).tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1" and headings.count("h1") == 1
    assert name == "plots" or tables_of(text)


@pytest.mark.parametrize("name", ["run", "plots", "card", "summary"])
def test_no_name_reason_or_column_becomes_markup(name: str, findings: Findings) -> None:
    text = pages_of(attacked(findings))[name]
    check_alone(text)
    assert name == "plots" or text.count("&lt;script&gt;") >= 5


@pytest.mark.parametrize(
    ("write", "write_page"), [(card, card_page), (summary, lambda findings: summary_page(findings, (), "d"))]
)
def test_both_forms_of_a_document_say_the_same(write: object, write_page: object, findings: Findings) -> None:
    assert callable(write) and callable(write_page)
    plain = re.sub(r"<caption>.*?</caption>", "", write_page(findings).partition("<body>")[2])
    shown = re.sub(r"<[^>]*>", " ", plain)
    for word in set(re.findall(r"[\w.,]*\w", re.sub(r"[*`|#\\]", " ", write(findings)))):
        assert word in shown, word


BLOCKS: list[Block] = [
    Heading(ATTACK, 1),
    Banner((strong(ATTACK), ATTACK), "stopped"),
    Paragraph((ATTACK, strong(ATTACK), Mark(ATTACK, "em"), code(ATTACK))),
    Points((ATTACK, (code(ATTACK),))),
    Table((ATTACK, "verdict"), [(ATTACK, "pass"), (code(ATTACK), ATTACK)], caption=ATTACK, numbers=(ATTACK,)),
    Table(("a",), [], ATTACK),
    Gallery((Picture(b"x", f'" onerror="{ATTACK}'),)),
    FoldedBlock(
        (ATTACK, strong(ATTACK)), (Paragraph(ATTACK), Table(("a", "b"), [(ATTACK, f"{ATTACK} and a long sentence beside it")]))
    ),
]


def test_every_block_escapes_every_text() -> None:
    text = page(ATTACK, BLOCKS)
    check_alone(text)
    assert text.count("&lt;script&gt;") == 23
    assert {block.kind for block in BLOCKS} | {"picture"} == {kind.kind for kind in get_args(Block)}


def test_a_table_with_sentences_names_its_columns_in_each_cell_for_a_narrow_screen() -> None:
    long = page("", [Table(("gate", "what was found"), [("auc", "The AUC is 0.728 and, with 95 % confidence, at least 0.687.")])])
    assert '<div class="table prose"' in long and '<td data-column="what was found">' in long
    assert "data-column" not in page("", [Table(("gate", "verdict"), [("auc", "pass")])]).partition("<body>")[2]


def test_an_empty_table_is_a_sentence_in_both_forms_or_nothing() -> None:
    table, nothing = Table(("a",), [], "No row."), Table(("a",), [])
    assert "<p>No row.</p>" in page("", [table]) and "<table" not in page("", [table, nothing]).partition("<body>")[2]
    assert markdown([table, nothing]) == "No row.\n"


def test_a_value_that_nobody_filled_in_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        page("", [object()])  # type: ignore[list-item]


def test_the_templates_are_in_the_wheel() -> None:
    """Hatchling takes every file of a package, unless a rule or git leaves it out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = project["tool"]["hatch"]["build"]["targets"]
    assert set(project["tool"]["hatch"]["build"]) == {"targets"} and set(targets["wheel"]) == {"packages"}
    assert "perennial" in targets["wheel"]["packages"]
    assert {path.name for path in TEMPLATES.iterdir()} == {"layout.html", "blocks.html", "style.css"}
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8") + (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert not re.search(r"html|css|templates", ignored)
