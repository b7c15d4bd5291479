"""Markdown from values: tables whose cells hold any text."""

from collections.abc import Iterable, Sequence


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
