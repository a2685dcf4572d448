"""Structured fields (RFC 9651), as much of them as message signatures and digests use, read strictly.

Two kinds of dictionaries are read: members that are byte sequences (`Signature`, `Content-Digest`), and members that
are inner lists of strings with parameters (`Signature-Input`). Everything else is a failure, and so is a name given
twice, where the RFC would let the last one win: what is signed must not depend on who reads it.
"""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

MAX_FIELD: Final = 4096

_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_SPACES: Final = re.compile(r" *")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")

_Member = TypeVar("_Member")


@dataclass(frozen=True, slots=True)
class Token:
    """A bare word, such as `rsa` in `alg=rsa`."""

    text: str


# A bare item; a parameter without a value is true.
Bare = str | int | bool | Token


@dataclass(frozen=True, slots=True)
class InnerList:
    """`("a" "b");name=value...`: strings without parameters of their own, then the list's parameters."""

    items: tuple[str, ...]
    parameters: tuple[tuple[str, Bare], ...]

    def serialised(self) -> str:
        """The canonical text (RFC 9651 §4.1.1), which is what a signature covers (RFC 9421 §2.3)."""
        listed = " ".join(_quoted(item) for item in self.items)
        return f"({listed})" + "".join(f";{name}{_assigned(value)}" for name, value in self.parameters)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _assigned(value: Bare) -> str:
    if value is True:
        return ""
    if isinstance(value, Token):
        return f"={value.text}"
    return f"={value}" if isinstance(value, int) else f"={_quoted(value)}"


class _UnreadableError(ValueError):
    pass


class _Cursor:
    """A place in a text that only moves forward."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def ended(self) -> bool:
        return self._at == len(self._text)

    def peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def take(self, form: re.Pattern[str]) -> re.Match[str]:
        found = form.match(self._text, self._at)
        if found is None:
            raise _UnreadableError
        self._at = found.end()
        return found

    def accept(self, literal: str) -> bool:
        if not self._text.startswith(literal, self._at):
            return False
        self._at += len(literal)
        return True

    def expect(self, literal: str) -> None:
        if not self.accept(literal):
            raise _UnreadableError


def _string(cursor: _Cursor) -> str:
    return re.sub(r"\\(.)", r"\1", cursor.take(_STRING)[1])


def _octets(cursor: _Cursor) -> bytes:
    text = cursor.take(_BYTES)[1]
    try:
        octets = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _UnreadableError from None
    # One spelling only: padded, and with its unused bits zero.
    if base64.b64encode(octets).decode("ascii") != text:
        raise _UnreadableError
    return octets


def _bare(cursor: _Cursor) -> str | int | Token:
    first = cursor.peek()
    if first == '"':
        return _string(cursor)
    if first == "-" or first.isdigit():
        return int(cursor.take(_INTEGER)[0])
    return Token(cursor.take(_TOKEN)[0])


def _parameters(cursor: _Cursor) -> tuple[tuple[str, Bare], ...]:
    parameters: dict[str, Bare] = {}
    while cursor.accept(";"):
        cursor.take(_SPACES)
        name = cursor.take(_KEY)[0]
        if name in parameters:
            raise _UnreadableError
        parameters[name] = _bare(cursor) if cursor.accept("=") else True
    return tuple(parameters.items())


def _inner_list(cursor: _Cursor) -> InnerList:
    cursor.expect("(")
    items: list[str] = []
    cursor.take(_SPACES)
    while not cursor.accept(")"):
        items.append(_string(cursor))
        # An item with parameters, such as "date";bs, reads as a failure here.
        if cursor.peek() not in {" ", ")"}:
            raise _UnreadableError
        cursor.take(_SPACES)
    return InnerList(tuple(items), _parameters(cursor))


def _read_dictionary(text: str, read_member: Callable[[_Cursor], _Member]) -> dict[str, _Member] | None:
    cursor = _Cursor(text)
    members: dict[str, _Member] = {}
    try:
        while True:
            name = cursor.take(_KEY)[0]
            cursor.expect("=")
            if name in members:
                return None
            members[name] = read_member(cursor)
            if cursor.ended:
                return members
            cursor.take(_COMMA)
    except _UnreadableError:
        return None


def read_byte_sequences(text: str) -> dict[str, bytes] | None:
    """A dictionary whose members are all byte sequences without parameters, or None. Never raises."""
    return None if len(text) > MAX_FIELD else _read_dictionary(text, _octets)


def read_inner_lists(text: str) -> dict[str, InnerList] | None:
    """A dictionary whose members are all inner lists of strings, or None. Never raises."""
    return None if len(text) > MAX_FIELD else _read_dictionary(text, _inner_list)
