"""Structured fields (RFC 9651), as much of them as message signatures and digests use, read strictly.

Two kinds of dictionaries are read: members that are byte sequences (`Signature`, `Content-Digest`), and members that
are inner lists of strings with parameters (`Signature-Input`). Everything else is a failure, and so is a name given
twice, where the RFC would let the last one win: what is signed must not depend on who reads it.
"""

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

MAX_FIELD: Final = 4096

_NAME: Final = r"[a-z*][a-z0-9_.*-]*+"
# Nothing that was read is given back, since no shorter reading could do where the longest does not.
_STRING: Final = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]++|\\["\\])*+"'
_INTEGER: Final = r"-?[0-9]{1,15}(?![0-9.])"
_WORD: Final = r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*"
_MEMBER: Final = re.compile(rf"({_NAME})=")
_COMMA: Final = re.compile(r"[ \t]*,[ \t]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
# An item with parameters of its own, such as "date";bs, matches neither of these two.
_LIST_ITEM: Final = re.compile(rf" *({_STRING})(?=[ )])")
_LIST: Final = re.compile(rf"\((?: *{_STRING}(?=[ )]))*+ *\)")
_VALUE: Final = f"{_STRING}|{_INTEGER}|{_WORD}"
_PARAMETER: Final = re.compile(rf"; *({_NAME})(?:=({_VALUE}))?")
_PARAMETERS: Final = re.compile(rf"(?:; *{_NAME}(?:=(?:{_VALUE}))?)*+")
_ESCAPE: Final = re.compile(r"\\(.)")

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
        return _listed(self.items) + "".join([f";{name}{_assigned(value)}" for name, value in self.parameters])


# Of what a client signs, the components are the same each time.
@lru_cache(maxsize=256)
def _listed(items: tuple[str, ...]) -> str:
    return "(" + " ".join([_quoted(item) for item in items]) + ")"


def _quoted(text: str) -> str:
    if "\\" not in text and '"' not in text:
        return f'"{text}"'
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _assigned(value: Bare) -> str:
    if isinstance(value, str):
        return "=" + _quoted(value)
    if value is True:
        return ""
    return f"={value.text}" if isinstance(value, Token) else f"={value}"


class _UnreadableError(ValueError):
    pass


def _expect(form: re.Pattern[str], text: str, at: int) -> re.Match[str]:
    found = form.match(text, at)
    if found is None:
        raise _UnreadableError
    return found


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


def _read_octets(text: str, at: int) -> tuple[bytes, int]:
    found = _expect(_BYTES, text, at)
    try:
        octets = binascii.a2b_base64(found[1], strict_mode=True)
    except binascii.Error:
        raise _UnreadableError from None
    # One spelling only: padded, and with its unused bits zero.
    if binascii.b2a_base64(octets, newline=False).decode("ascii") != found[1]:
        raise _UnreadableError
    return octets, found.end()


@lru_cache(maxsize=256)
def _read_items(text: str) -> tuple[str, ...]:
    """The strings of a text that `_LIST` has matched."""
    return tuple([_unescaped(item[1:-1]) for item in _LIST_ITEM.findall(text, 1)])


def _read_inner_list(text: str, at: int) -> tuple[InnerList, int]:
    listed = _expect(_LIST, text, at)
    items, at = _read_items(listed[0]), listed.end()
    end = _expect(_PARAMETERS, text, at).end()
    given = _PARAMETER.findall(text, at, end)
    parameters = {name: _bare(value) for name, value in given}
    if len(parameters) != len(given):
        raise _UnreadableError
    return InnerList(items, tuple(parameters.items())), end


def _bare(value: str) -> Bare:
    """What a value says that `_PARAMETER` has matched."""
    if not value:
        return True
    if value[0] == '"':
        return _unescaped(value[1:-1])
    return int(value) if value[0] in "-0123456789" else Token(value)


def _read_dictionary(text: str, read_member: Callable[[str, int], tuple[_Member, int]]) -> dict[str, _Member] | None:
    members: dict[str, _Member] = {}
    at = 0
    try:
        while True:
            name = _expect(_MEMBER, text, at)
            if name[1] in members:
                return None
            members[name[1]], at = read_member(text, name.end())
            # What a member leaves unread, such as the end of `created=1e20`, is no comma.
            if at == len(text):
                return members
            at = _expect(_COMMA, text, at).end()
    except _UnreadableError:
        return None


def read_byte_sequences(text: str) -> dict[str, bytes] | None:
    """A dictionary whose members are all byte sequences without parameters, or None. Never raises."""
    return None if len(text) > MAX_FIELD else _read_dictionary(text, _read_octets)


def read_inner_lists(text: str) -> dict[str, InnerList] | None:
    """A dictionary whose members are all inner lists of strings, or None. Never raises."""
    return None if len(text) > MAX_FIELD else _read_dictionary(text, _read_inner_list)
