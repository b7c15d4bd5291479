"""The text of a spec as values with places: YAML, kept to what JSON can say.

Here is everything that is refused before the models are asked: what YAML 1.1 and 1.2 read differently, what hides where a
value comes from (anchors, merge keys, tags, duplicate keys), and what is no YAML at all.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import yaml
from pydantic import JsonValue
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from perennial.spec.problem import Place, Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 40

WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
WORDS: dict[str, JsonValue] = {"": None, "~": None, "null": None, "true": True, "false": False}
AMBIGUOUS = {
    "bool": "read as true or false by some YAML readers, as a text by others; write true, false or quotes",
    "int": "a number only to some YAML readers; write it in decimal digits, or in quotes",
    "float": "a number only to some YAML readers, or not finite; write it in decimal digits, or in quotes",
    "null": "read as nothing by some YAML readers; write null or quotes",
    "timestamp": "read as a date by some YAML readers; write it in quotes",
}


@dataclass(frozen=True)
class Node:
    """A value and where it stands."""

    value: JsonValue
    """As JSON."""
    place: Place
    """Where it begins."""
    children: Mapping[str | int, "Node"] = field(default_factory=dict)
    """Values of a mapping by key, items of a list by position."""
    keys: Mapping[str, Place] = field(default_factory=dict)
    """Where each key of a mapping stands."""
    spoiled: bool = False
    """Whether the value could not be read; a problem says so, and no other about it is of use."""

    @property
    def found(self) -> str:
        """The value in words, short."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, dict):
            return f"a mapping with {', '.join(self.value)}"[:60] if self.value else "an empty mapping"
        if isinstance(self.value, list):
            return f"a list of {len(self.value)}" if self.value else "an empty list"
        text = repr(self.value) if isinstance(self.value, str) else json.dumps(self.value)
        return text if len(text) <= 60 else f"{text[:57]}…"


@dataclass
class Source:
    """A parsed text: its values, and what could not be read."""

    file: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)

    def report(self, place: Place, path: tuple[str | int, ...], message: str, found: str = "", allowed: str = "") -> None:
        """Add a problem."""
        where = ".".join(map(str, path))
        self.problems.append(Problem(self.file, place.line, place.column, where, found, allowed, "", message))


def decode(data: bytes, file: str) -> str | Problem:
    r"""The bytes of a spec as text, or the problem that they are not UTF-8 or too many.

    >>> decode(b"kind: Model", "x.yaml")
    'kind: Model'
    >>> print(decode(b"kind: Model\nname: \xff", "x.yaml"))
    x.yaml:2: not UTF-8; found byte 0xff; allowed: UTF-8 text
    """
    if len(data) > MAX_BYTES:
        return Problem(file, 1, 1, "", f"{len(data)} bytes", f"at most {MAX_BYTES} bytes", "", "too large for a spec")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        return Problem(file, line, column, "", f"byte 0x{data[error.start]:02x}", "UTF-8 text", "", "not UTF-8")


def parse(text: str, file: str) -> Source:
    """The text's values with their places; `root` is absent when it is no YAML or holds nothing."""
    source = Source(file)
    try:
        _Reader(source, yaml.parse(text, Loader=yaml.SafeLoader)).read()
    except _TooDeepError:
        source.root = None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        source.root = None
        source.report(place, (), f"not YAML: {_explain(error)}")
    except yaml.reader.ReaderError as error:
        place = Place(text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position))
        source.report(place, (), "not YAML: a character that no text may hold", found=f"#x{ord(text[error.position]):04x}")
    return source


class _TooDeepError(Exception):
    """The text is not read on: the time for that grows with the square of the depth."""


def _explain(error: yaml.MarkedYAMLError) -> str:
    message = " ".join(part for part in (error.problem, error.context) if part)
    if "\\t" in message:
        return "a tab; indent with spaces"
    if "mapping values are not allowed" in message:
        return "a colon where none may be; put a text that holds ': ' in quotes, and check the indentation"
    if "block mapping" in message or "block collection" in message or "simple key" in message:
        return f"{message}; check the indentation and the colons"
    return message


class _Reader:
    """Builds nodes from YAML's events."""

    def __init__(self, source: Source, events: Iterator[Event]) -> None:
        self.source = source
        self.events = events

    def read(self) -> None:
        """Read the first document; report that there is none, or more than one."""
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents == 2:
                    self.source.report(_place(event), (), "a second document", allowed="one spec a file")
                    return
                self.source.root = self.node(next(self.events), ())
        root = self.source.root
        if root is None or (root.value is None and not root.spoiled):
            self.source.root = None
            self.source.report(Place(1, 1), (), "the file holds nothing", allowed="a spec, beginning with apiVersion")

    def node(self, event: Event, path: tuple[str | int, ...]) -> Node:
        """The node that begins with `event`."""
        place = _place(event)
        if isinstance(event, AliasEvent):
            self.source.report(place, path, "an alias", f"*{event.anchor}", "the value itself, where it is read")
            return Node(None, place, spoiled=True)
        if isinstance(event, (ScalarEvent, CollectionStartEvent)):
            if event.anchor is not None:
                self.source.report(place, path, "an anchor", f"&{event.anchor}", "values without anchors")
            if event.tag is not None and event.tag != "!":
                self.source.report(place, path, "a tag", event.tag.replace("tag:yaml.org,2002:", "!!"), "values without tags")
                self.rest(event)
                return Node(None, place, spoiled=True)
        if isinstance(event, CollectionStartEvent) and len(path) >= MAX_DEPTH:
            self.source.report(place, path[:3], "nested too deep", allowed=f"at most {MAX_DEPTH} levels")
            raise _TooDeepError
        if isinstance(event, MappingStartEvent):
            return self.mapping(place, path)
        if isinstance(event, SequenceStartEvent):
            return self.sequence(place, path)
        assert isinstance(event, ScalarEvent)
        return self.scalar(event, path)

    def rest(self, event: Event) -> None:
        """Skip what belongs to a node that is not read."""
        depth = int(isinstance(event, CollectionStartEvent))
        while depth:
            following = next(self.events)
            depth += isinstance(following, CollectionStartEvent) - isinstance(following, yaml.events.CollectionEndEvent)

    def sequence(self, place: Place, path: tuple[str | int, ...]) -> Node:
        children: dict[str | int, Node] = {}
        while not isinstance(event := next(self.events), yaml.events.SequenceEndEvent):
            children[len(children)] = self.node(event, (*path, len(children)))
        return Node([child.value for child in children.values()], place, children)

    def mapping(self, place: Place, path: tuple[str | int, ...]) -> Node:
        children: dict[str | int, Node] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := next(self.events), yaml.events.MappingEndEvent):
            at = _place(event)
            if not isinstance(event, ScalarEvent):
                self.source.report(at, path, "a key that is no text", allowed="keys of one word")
                self.rest(event)
                self.rest(next(self.events))
                continue
            key = event.value
            if key == "<<" and event.implicit[0]:
                self.source.report(at, (*path, key), "a merge key", allowed="the keys themselves, where they are read")
                self.rest(next(self.events))
                continue
            child = self.node(next(self.events), (*path, key))
            if key in children:
                self.source.report(at, (*path, key), f"the key is already in line {keys[key].line}", allowed="each key once")
                continue
            children[key], keys[key] = child, at
        return Node({str(key): child.value for key, child in children.items()}, place, children, keys)

    def scalar(self, event: ScalarEvent, path: tuple[str | int, ...]) -> Node:
        place, text = _place(event), event.value
        if not event.implicit[0]:
            return Node(text, place)
        if text in WORDS:
            return Node(WORDS[text], place)
        if WHOLE.fullmatch(text):
            return Node(int(text), place)
        if NUMBER.fullmatch(text) and abs(number := float(text)) < float("inf"):
            return Node(number, place)
        for tag, pattern in yaml.SafeLoader.yaml_implicit_resolvers.get(text[0], []):  # how YAML 1.1 reads a plain word
            kind = str(tag).rpartition(":")[2]
            if kind in AMBIGUOUS and pattern.match(text):
                self.source.report(place, path, AMBIGUOUS[kind], found=text)
                return Node(None, place, spoiled=True)
        return Node(text, place)


def _place(event: Event) -> Place:
    mark = event.start_mark
    return Place(1, 1) if mark is None else Place(mark.line + 1, mark.column + 1)
