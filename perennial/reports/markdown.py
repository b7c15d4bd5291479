"""Markdown from blocks: tables whose cells hold any text."""

from collections.abc import Iterable, Sequence

from perennial.reports.blocks import Document, Heading, Paragraph, Points, Table, Text, marks

SIGNS = {"": "", "strong": "**", "em": "*", "code": "`"}
"""What stands on both sides of words of a style."""


def markdown(blocks: Iterable[Document]) -> str:
    """A document as Markdown that ends in a newline; what says nothing is left out.

    Args:
        blocks: in their order.
    """
    return "\n\n".join(text for text in map(_written, blocks) if text) + "\n"


def _written(block: Document) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return words(block.text)
        case Points():
            return "\n".join(f"- {words(item)}" for item in block.items)
        case Table():
            return table(block.head, [[words(cell) for cell in row] for row in block.rows], block.otherwise)


def words(text: Text) -> str:
    """A text with the signs of its styles.

    >>> from perennial.reports.blocks import strong
    >>> words(("It earned ", strong("213 points"), "."))
    'It earned **213 points**.'
    """
    return "".join(f"{SIGNS[mark.style]}{mark.text}{SIGNS[mark.style]}" for mark in marks(text))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], otherwise: str) -> str:
    r"""A table, or a sentence where it would be empty.

    >>> print(table(["a", "b"], [["x|y", "2"]], "Nothing."))
    | a | b |
    | --- | --- |
    | x\|y | 2 |
    >>> table(["a"], [], "Nothing.")
    'Nothing.'
    """
    lines = [_row(cells) for cells in rows]
    return "\n".join([_row(head), _row(["---"] * len(head)), *lines]) if lines else otherwise


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"
