"""A reader of HTML pages, for tests of what is on them and of what must not be."""

import re
from html.parser import HTMLParser

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Reads a page: tags in order, tags that were not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_alone(text: str) -> Page:
    """The page, after it was seen to be well-formed, to run nothing and to need nothing else."""
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "form"} == set()
    for tag, attributes in page.tags:
        source = attributes.get("src") or attributes.get("href") or "data:"
        assert source.startswith("data:image/png;base64,") or source == "data:"
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert "url(" not in text and "http" not in text
    return page


def tables_of(text: str) -> list[str]:
    """The tables of a page, after each was seen to have headers, rows, and as many cells in each row."""
    tables = re.findall(r"<table>.*?</table>", text, flags=re.DOTALL)
    for table in tables:
        assert '<th scope="col"' in table and '<th scope="row">' in table
        width, rows = table.count('scope="col"'), re.findall(r"<tr>(.*?)</tr>", table.split("<tbody>")[1])
        assert rows and all(row.count("<td") + row.count("<th") == width for row in rows)
    return tables
