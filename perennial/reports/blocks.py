"""Blocks: what a page or a document says, in order. The templates write them as HTML, `markdown` as Markdown.

A text is plain; what is set in another style is a `Mark`. No block holds markup, so that every writer escapes everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Mark:
    """Words of one style."""

    text: str
    """The words."""
    style: Literal["", "strong", "em", "code"] = ""
    """How they are set; plain if empty."""


LONG = 40
"""Letters from which on a cell is prose: about half a line of a table."""

Text = str | Mark | tuple[str | Mark, ...]
"""Words, plain or in parts of their own style."""


def strong(text: str) -> Mark:
    """Words that matter most."""
    return Mark(text, "strong")


def code(text: str) -> Mark:
    """Something that is typed or compared letter by letter."""
    return Mark(text, "code")


def marks(text: Text) -> tuple[Mark, ...]:
    """The parts of a text, each with its style.

    >>> marks(("Run key ", code("a1"), "."))
    (Mark(text='Run key ', style=''), Mark(text='a1', style='code'), Mark(text='.', style=''))
    >>> marks("plain")
    (Mark(text='plain', style=''),)
    """
    parts = text if isinstance(text, tuple) else (text,)
    return tuple(Mark(part) if isinstance(part, str) else part for part in parts)


def is_long(text: Text) -> bool:
    """Whether a cell holds so much text that a narrow screen would set it one word below the other.

    >>> is_long("not applicable"), is_long(("The champion was trained on data up to ", strong("2013-08-31")))
    (False, True)
    """
    return sum(len(mark.text) for mark in marks(text)) > LONG


def commands(text: str) -> Text:
    """A stored sentence whose commands stand between backticks, with those as code.

    >>> commands("wait; `perennial logs r1` shows it")
    ('wait; ', Mark(text='perennial logs r1', style='code'), ' shows it')
    >>> commands("one ` alone")
    'one ` alone'
    """
    parts = text.split("`")
    if len(parts) < 3 or len(parts) % 2 == 0:
        return text
    return tuple(code(part) if index % 2 else part for index, part in enumerate(parts) if part)


@dataclass(frozen=True)
class Heading:
    """The title of a section."""

    text: str
    level: int = 2
    """1 is the title of the whole; a page has one."""
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: Text
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Points:
    """A list without an order; at least one item."""

    items: tuple[Text, ...]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Table:
    """Rows of cells, or a sentence where there are none."""

    head: Sequence[str]
    """Names of the columns. A column `verdict` holds verdicts of gates."""
    rows: Sequence[Sequence[Text]]
    """As many cells as columns each; the first names the row."""
    otherwise: str = ""
    """What is said when there is no row; nothing if empty."""
    caption: str = ""
    """What the table shows; Markdown has no captions and leaves it out."""
    numbers: Sequence[str] = ()
    """Columns that hold numbers."""
    kind: ClassVar[str] = "table"

    @property
    def is_prose(self) -> bool:
        """Whether a cell beside the first holds sentences: a narrow screen shows such a table row by row."""
        return any(is_long(text) for row in self.rows for text in row[1:])


@dataclass(frozen=True)
class Picture:
    """A PNG inside the page."""

    content: bytes
    alt: str
    """What it shows, for those who do not see it."""
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Gallery:
    """Pictures beside each other."""

    pictures: tuple[Picture, ...]
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True)
class Banner:
    """The line that a reader should see first."""

    text: Text
    state: Literal["registered", "stopped"]
    """Whether all is well: its colour."""
    kind: ClassVar[str] = "banner"


@dataclass(frozen=True)
class FoldedBlock:
    """Blocks that a reader opens by a click on their title."""

    title: Text
    blocks: "tuple[Block, ...]"
    kind: ClassVar[str] = "fold"


Document = Heading | Paragraph | Points | Table
"""What Markdown can say too."""

Block = Document | Picture | Gallery | Banner | FoldedBlock
"""What a page is made of."""
