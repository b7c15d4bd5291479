"""The condition of a task, evaluated as the driver does it: comparisons, `!`, `&&`, `||`, `int()` and `double()`.

Nothing is evaluated that is not one of these: a value that holds a quote stays a value.
"""

import re
from collections.abc import Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<input>inputs\.parameter_values\['(?P<name>[^']+)'\])"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<number>-?\d+(?:\.\d+)?)"
    r"|(?P<word>true|false|int|double)"
    r"|(?P<sign>==|!=|>=|<=|&&|\|\||[<>!()]))"
)
CASTS = {"int": int, "double": float}
COMPARISONS = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether a task's condition is true of its input parameters.

    >>> holds("inputs.parameter_values['x'] == 'mine'", {"x": "mine"})
    True
    >>> holds("!(inputs.parameter_values['x'] == 'mine')", {"x": "mine"})
    False
    """
    reading = Reading(condition, values)
    verdict = reading.either()
    if reading.tokens or not isinstance(verdict, bool):
        raise ValueError(f"condition {condition!r}: no truth value, or more than one expression")
    return verdict


class Reading:
    """One pass over the tokens of a condition, from the loosest sign to the tightest."""

    def __init__(self, condition: str, values: Mapping[str, Any]) -> None:
        self.values, self.tokens = values, list[re.Match[str]]()
        at = 0
        while at < len(condition.rstrip()):
            token = TOKEN.match(condition, at)
            if token is None:
                raise ValueError(f"condition {condition!r}: not understood from {condition[at:]!r} on")
            self.tokens.append(token)
            at = token.end()

    def takes(self, *signs: str) -> str:
        """The next sign when it is one of these, else an empty text."""
        if self.tokens and self.tokens[0]["sign"] in signs:
            return self.tokens.pop(0)["sign"]
        return ""

    def either(self) -> Any:
        value = self.both()
        while self.takes("||"):
            value = bool(self.both()) or value
        return value

    def both(self) -> Any:
        value = self.comparison()
        while self.takes("&&"):
            value = bool(self.comparison()) and value
        return value

    def comparison(self) -> Any:
        left = self.term()
        if sign := self.takes(*COMPARISONS):
            return COMPARISONS[sign](left, self.term())
        return left

    def term(self) -> Any:
        if self.takes("!"):
            return not self.term()
        if self.takes("("):
            value = self.either()
            if not self.takes(")"):
                raise ValueError("condition: a parenthesis is not closed")
            return value
        if not self.tokens:
            raise ValueError("condition: it ends too early")
        token = self.tokens.pop(0)
        if token["input"]:
            return self.values[token["name"]]
        if token["text"]:
            return re.sub(r"\\(.)", r"\1", token["text"][1:-1])
        if token["number"]:
            return float(token["number"])
        if token["word"] in CASTS:
            return CASTS[token["word"]](self.term())
        return {"true": True, "false": False}[token["word"]]
