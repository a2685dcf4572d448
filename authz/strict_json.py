"""JSON read so that every other reader of the same octets must agree on what it says (I-JSON, RFC 7493).

Refused are duplicate member names, numbers that are not finite or that doubles cannot hold, lone surrogates,
encodings other than UTF-8, byte order marks and deep nesting: each has let one parser see a harmless text and the
next one another.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Final, NoReturn

import orjson
from pydantic import JsonValue

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 4096
_MAX_INTEGER: Final = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Malformed:
    """Why a text is not read: `encoding`, `syntax`, `duplicate_name`, `number`, `depth` or `count`."""

    rule: str


class _UnreadableError(ValueError):
    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule


def _members(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _UnreadableError("duplicate_name")
    return members


def _float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise _UnreadableError("number")
    return number


def _constant(_: str) -> NoReturn:
    raise _UnreadableError("number")


def _integer(text: str) -> int:
    # RFC 7493 §2.2: beyond this, readers whose numbers are doubles see another number.
    if len(text) > 17 or abs(number := int(text)) > _MAX_INTEGER:
        raise _UnreadableError("number")
    return number


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
# Calls Python for each number, and so is for texts that hold one to be looked at.
_WARY_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_float=_float, parse_int=_integer, parse_constant=_constant
)
# Every digit becomes 0 and every e small. White space disappears, and a sign, so that it does not stand between an e
# and its digits.
_OUTLINE: Final = bytes.maketrans(b"123456789E", b"000000000e")
_LEFT_OUT: Final = b"+ \t\n\r"


def _may_hold_large_numbers(outline: bytes) -> bool:
    """Whether some number has so many digits, or such an exponent, that it has to be looked at by itself.

    An integer beyond 2**53 has 16 digits; a double that is not finite has 16 digits or an exponent of three.
    """
    return b"0" * 16 in outline or b"e000" in outline


# In one object, as making it takes as long as using it.
_CONTAINERS: Final = (dict, list)


def _deeper_than(value: JsonValue, limit: int) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    depth = 0
    while containers:
        depth += 1
        if depth > limit:
            return True
        containers = [each for held in containers for each in _members_of(held) if isinstance(each, dict | list)]
    return False


def _members_of(container: dict[str, JsonValue] | list[JsonValue]) -> Iterable[JsonValue]:
    return container.values() if isinstance(container, dict) else container


def read_json(octets: bytes, max_depth: int = MAX_DEPTH, max_values: int = MAX_VALUES) -> JsonValue | Malformed:
    """One JSON text, or why it is refused. Never raises, whatever the octets.

    `max_values` bounds the work of this reader and of whoever goes through what it has read: objects, lists and
    scalars together, with commas and brackets in strings taken for more of them.
    """
    objects = octets.count(b"{")
    containers = objects + octets.count(b"[")
    # Each value is the text itself, or follows a bracket or a comma. Those inside strings count as well.
    if 1 + containers + octets.count(b",") > max_values:
        return Malformed("count")
    outline = octets.translate(_OUTLINE, _LEFT_OUT)
    has_large = _may_hold_large_numbers(outline)
    # Nesting cannot be deeper than there are opening brackets, and most texts have few.
    if not has_large and containers <= max_depth:
        try:
            value: JsonValue = orjson.loads(octets)
        except ValueError:
            pass
        else:
            if outline.count(b'":') == _members_in(value, objects):
                return value
    return read_warily(octets, max_depth, has_large)


def _members_in(value: JsonValue, objects: int) -> int:
    """The members of all the objects in a value, of which there are so many at most.

    Of what `read_warily` refuses, orjson takes numbers that are too large, deep nesting, and repeated names, of which
    it keeps the last. Without white space each name of a text ends in `":`, so there are at most as many names as
    there are of these. If orjson has read as many members, none was lost to a repeated name; if it has read fewer,
    perhaps a string holds what looks like the end of a name, and who reads warily decides.
    """
    if objects == 0:
        return 0
    return len(value) if objects == 1 and isinstance(value, dict) else _members_below(value)


def _members_below(value: JsonValue) -> int:
    # As deep as the text's brackets let it, which are few.
    if isinstance(value, dict):
        found = len(value)
        for each in value.values():
            if isinstance(each, _CONTAINERS):
                found += _members_below(each)
        return found
    found = 0
    if isinstance(value, list):
        for each in value:
            if isinstance(each, _CONTAINERS):
                found += _members_below(each)
    return found


def read_warily(octets: bytes, max_depth: int, has_large: bool = True) -> JsonValue | Malformed:
    """What `read_json` says of a text with few enough values, found out in the slow way: each rule by itself.

    `has_large`: whether a number may have to be looked at by itself.
    """
    try:
        text = octets.decode("utf-8")
        value: JsonValue = (_WARY_DECODER if has_large else _DECODER).decode(text)
        if "\\u" in text:
            # The only way to a lone surrogate is an escape, and orjson refuses it (RFC 8259 §8.2).
            orjson.loads(octets)
    except UnicodeDecodeError:
        return Malformed("encoding")
    except _UnreadableError as unreadable:
        return Malformed(unreadable.rule)
    except RecursionError:
        return Malformed("depth")
    except ValueError:
        return Malformed("syntax")
    return Malformed("depth") if _deeper_than(value, max_depth) else value
