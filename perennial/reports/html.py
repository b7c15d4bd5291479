"""Every HTML page: one layout and one style sheet around blocks. A page is one file: no other, no script, no network.

The markup stands in `templates/` and nowhere else; Jinja2 escapes everything that it fills in. What stands on a page is decided
in `run_page` (a run), `service_page` (a model in service), `card` and `summary`.
"""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from perennial.reports.blocks import Block, marks

TEMPLATES = Path(__file__).parent / "templates"

MARKS = {"pass": "✓", "fail": "✗", "undecided": "?", "not applicable": "–"}
"""Sign before a verdict, for those who do not see its colour."""


@cache
def _environment() -> Environment:
    """The templates, compiled once; a name that nobody filled in is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["verdicts"] = MARKS
    environment.filters["marks"] = marks
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment


def page(title: str, blocks: Sequence[Block]) -> str:
    """The page with this title and these blocks.

    >>> from perennial.reports.blocks import Paragraph, Picture
    >>> "<p>a &lt;b&gt; &amp; c</p>" in page("A title", [Paragraph("a <b> & c")])
    True
    >>> 'src="data:image/png;base64,eA==" alt="A line &lt;up&gt;."' in page("", [Picture(b"x", "A line <up>.")])
    True

    Args:
        title: of the browser's window.
        blocks: in their order; the first is the heading of level 1.
    """
    return _environment().get_template("layout.html").render(title=title, blocks=blocks)
