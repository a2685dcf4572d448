"""YAML text -> a tree in which every key and value knows its place.

YAML 1.2 with the core schema (§10.3.2): `no`, `on` and `12:30` stay strings, and a date is a string. Built from
libyaml's events with a stack of our own, so that neither depth nor size of a file can exhaust the process, and
without aliases, so that no text is longer than it looks.
"""

import math
import re
from dataclasses import dataclass, field

from yaml import CLoader
from yaml.error import Mark, MarkedYAMLError
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from policy.problem import Diagnostic, Position, Source

MAX_CHARACTERS = 4 * 1024 * 1024
MAX_DEPTH = 64

Scalar = str | int | float | bool | None

# What YAML 1.2 §5.1 does not print, and the three breaks of Unicode that libyaml counts as lines and editors do not.
_REFUSED = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029]")
_BREAK = re.compile(r"\r\n|\r|\n")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_DECIMAL = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(slots=True)
class Node:
    """A value, its file, and where it is: line and column from 0. `suspect`: it has an error already, so that what
    follows from it is not reported as well."""

    content: "Content"
    file: str
    line: int
    column: int
    width: int
    suspect: bool = False

    @property
    def position(self) -> Position:
        return Position(self.file, self.line + 1, self.column + 1)


@dataclass(slots=True)
class Entry:
    """One key of a map, with its value."""

    key: Node
    value: Node


Content = Scalar | dict[str, Entry] | list[Node]


@dataclass(frozen=True, slots=True)
class Document:
    """A file that has been read: `root` is absent where the text is no YAML at all."""

    root: Node | None
    problems: tuple[Diagnostic, ...]
    lines: tuple[str, ...]


@dataclass(slots=True)
class _Reader:
    """Builds the tree of one file: `open` is the innermost open list or map, `key` the key whose value comes next."""

    file: str
    lines: tuple[str, ...]
    problems: list[Diagnostic] = field(default_factory=list)
    root: Node | None = None
    open: Node | None = None
    key: Node | None = None
    outer: list[tuple[Node | None, Node | None]] = field(default_factory=list)

    def read(self, text: str) -> Node | None:
        events = CLoader(text)
        while events.check_event():
            event = events.get_event()
            if isinstance(event, ScalarEvent):
                self.attach(self.scalar(event))
            elif isinstance(event, CollectionEndEvent):
                self.open, self.key = self.outer.pop()
            elif isinstance(event, CollectionStartEvent):
                node = self.collection(event)
                if len(self.outer) >= MAX_DEPTH:
                    self.report(node, "nested too deeply", expected=f"at most {MAX_DEPTH} levels")
                    return None
                self.attach(node)
                self.outer.append((self.open, self.key))
                self.open, self.key = node, None
            elif isinstance(event, AliasEvent):
                node = self.at(event)
                self.report(node, "an alias", expected="the value itself, written out")
                self.attach(node)
            elif isinstance(event, DocumentStartEvent) and self.root is not None:
                self.report(self.at(event), "a second document", expected="one document in a file")
                break
        return self.root

    def attach(self, node: Node) -> None:
        owner = self.open
        if owner is None:
            self.root = node
        elif isinstance(owner.content, list):
            owner.content.append(node)
        elif self.key is None:
            self.key = node
        elif isinstance(owner.content, dict):
            self.enter(owner, owner.content, self.key, node)
            self.key = None

    def enter(self, owner: Node, entries: dict[str, Entry], key: Node, value: Node) -> None:
        if not isinstance(key.content, str):
            owner.suspect = True
            self.report(key, "a key that is not a plain word", expected="a plain word")
        elif (first := entries.get(key.content)) is not None:
            self.report(key, f"{key.content} is written twice", hint=f"the first one is on line {first.key.line + 1}")
        else:
            entries[key.content] = Entry(key, value)

    def scalar(self, event: ScalarEvent) -> Node:
        text = event.value
        node = self.at(event, text)
        if event.tag is not None or event.anchor is not None:
            self.refuse_decoration(node, event)
        elif event.implicit[0] and (self.key is not None or self.open is None or type(self.open.content) is list):
            # Not for keys: a key is the word that is written, whatever it would be as a value: `404:`, `null:`.
            node.content = value = _resolved(text)
            if type(value) is float and not math.isfinite(value):
                self.report(node, "a number that nothing can count", found=text, expected="a finite number")
        return node

    def collection(self, event: CollectionStartEvent) -> Node:
        node = self.at(event, {} if isinstance(event, MappingStartEvent) else [])
        if event.tag is not None or event.anchor is not None:
            self.refuse_decoration(node, event)
        return node

    def refuse_decoration(self, node: Node, event: ScalarEvent | CollectionStartEvent) -> None:
        if event.anchor is not None:
            self.report(node, "an anchor", expected="a value without &, written out where it is needed")
        if event.tag is not None:
            self.report(node, f"the tag {event.tag}", expected="a value without a tag")

    def at(self, event: Event, content: Content = None) -> Node:
        start, end = event.start_mark, event.end_mark
        assert start is not None
        assert end is not None
        line, column = start.line, start.column
        width = end.column - column if end.line == line else 1
        return Node(content, self.file, line, column, width)

    def report(self, node: Node, message: str, *, found: str = "", expected: str = "", hint: str = "") -> None:
        node.suspect = True
        line = self.lines[node.line] if node.line < len(self.lines) else ""
        self.problems.append(Diagnostic(node.position, (), message, found, expected, hint, line, node.width))


def parse(source: Source) -> Document:
    """The tree of a file with all that is wrong with it as YAML. Never raises for what the text holds."""
    lines = tuple(_BREAK.split(source.text.removeprefix("\ufeff")))
    reader = _Reader(source.name, lines)
    if (refused := _refused(source, lines)) is not None:
        return Document(None, (refused,), lines)
    try:
        root = reader.read(source.text.removeprefix("\ufeff"))
    except MarkedYAMLError as error:
        root = None
        reader.problems.append(_syntax(error, source.name, lines))
    if root is None and not reader.problems:
        message = "the file is empty"
        reader.problems.append(Diagnostic(Position(source.name, 1, 1), (), message, expected="a map of fields"))
    return Document(root, tuple(reader.problems), lines)


def _resolved(text: str) -> Scalar:
    if text in _NULL:
        return None
    if (boolean := _BOOLEANS.get(text)) is not None:
        return boolean
    if text[0] not in "-+.0123456789":
        return text
    if _DECIMAL.fullmatch(text):
        return _counted(text, 10)
    if _BASED.fullmatch(text):
        return _counted(text[2:], 8 if text[1] == "o" else 16)
    if _NOT_FINITE.fullmatch(text):
        return math.inf
    return float(text) if _FLOAT.fullmatch(text) else text


def _counted(digits: str, base: int) -> int | float:
    # Python refuses to read numbers of thousands of digits, and no program that a policy reaches holds more bits.
    number = int(digits, base) if len(digits) <= 64 else 2**64
    return number if abs(number) < 2**63 else math.inf


def _refused(source: Source, lines: tuple[str, ...]) -> Diagnostic | None:
    if len(source.text) > MAX_CHARACTERS:
        size = f"at most {MAX_CHARACTERS:,} characters"
        return Diagnostic(Position(source.name, 1, 1), (), "the file is too long", expected=size)
    if _REFUSED.search(source.text.removeprefix("\ufeff")) is None:
        return None
    for number, line in enumerate(lines, start=1):
        if (match := _REFUSED.search(line)) is not None:
            found = f"U+{ord(match.group()):04X}"
            place = Position(source.name, number, match.start() + 1)
            return Diagnostic(place, (), "a character that policies cannot hold", found, "printable text", "", line)
    return None


def _syntax(error: MarkedYAMLError, file: str, lines: tuple[str, ...]) -> Diagnostic:
    # At the end of the file there is nothing to show: then what was never closed is the place.
    marks: list[Mark | None] = [error.problem_mark, error.context_mark]
    places = [(mark.line, mark.column) for mark in marks if mark is not None and mark.line < len(lines)]
    line, column = next((place for place in places if lines[place[0]].strip()), (0, 0))
    message = ", ".join(text for text in (error.problem, error.context) if text)
    return Diagnostic(Position(file, line + 1, column + 1), (), f"not YAML: {message}", source_line=lines[line])
