"""What every HTML page is made of: style, tables, pictures. A page is one file that needs nothing else, no script, no network.

What stands on a page is decided in `report` (a run) and `year` (a model in service).
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --page: #ffffff; --line: #c9c9c9; --soft: #f3f4f6; --quiet: #555555; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ececec; --page: #17191c; --line: #4a4d52; --soft: #23262b; --quiet: #b4b4b4; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); }
body { margin: 0 auto; padding: 1rem 1.5rem 4rem; max-width: 72rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.table { overflow-x: auto; } table { border-collapse: collapse; margin: 0 0 1.5rem; }
caption { text-align: left; color: var(--quiet); padding-bottom: .3rem; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--soft); } td.number, th.number { text-align: right; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { font-weight: 700; white-space: nowrap; }
.state { padding: .6rem 1rem; background: var(--soft); border-left: .4rem solid; }
.pass, .registered { color: #0a6b3d; } .fail { color: #b3261e; } .undecided, .stopped { color: #8a5300; }
.not-applicable { color: var(--quiet); }
.state span { color: var(--ink); }
@media (prefers-color-scheme: dark) {
  .pass, .registered { color: #6fd3a0; } .fail { color: #ff9d94; } .undecided, .stopped { color: #f0bf66; }
}
figure { margin: 0; } .plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem; }
img { max-width: 100%; height: auto; background: #ffffff; border-radius: .3rem; } code { overflow-wrap: anywhere; }
"""

MARKS = {"pass": "✓", "fail": "✗", "undecided": "?", "not applicable": "–"}
"""Sign before a verdict, for those who do not see its colour."""


def page(title: str, parts: Sequence[str]) -> str:
    """The page with this title and these parts, each a piece of HTML."""
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], otherwise: str, numbers: Sequence[str] = ()) -> str:
    """A table with a caption and header cells, or a sentence where it would be empty; every cell is escaped."""
    columns = "".join(f'<th scope="col"{" class=number" if name in numbers else ""}>{escape(name)}</th>' for name in head)
    lines = []
    for cells in rows:
        first, *rest = zip(head, cells, strict=True)
        line = f'<th scope="row">{escape(first[1])}</th>'
        line += "".join(f"<td{' class=number' if name in numbers else ''}>{_cell(name, cell)}</td>" for name, cell in rest)
        lines.append(f"<tr>{line}</tr>")
    if not lines:
        return f"<p>{escape(otherwise)}</p>"
    body = "\n".join(lines)
    return (
        f'<div class="table"><table><caption>{escape(caption)}</caption>\n<thead><tr>{columns}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _cell(name: str, text: str) -> str:
    if name == "verdict" and text in MARKS:
        return f'<span class="verdict {text.replace(" ", "-")}">{MARKS[text]} {escape(text)}</span>'
    return escape(text)


def picture(content: bytes, alt: str) -> str:
    """A PNG inside the page, with what it shows for those who do not see it.

    >>> picture(b"x", "A line <up>.")
    '<figure><img src="data:image/png;base64,eA==" alt="A line &lt;up&gt;."></figure>'
    """
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return f'<figure><img src="{source}" alt="{escape(alt)}"></figure>'
