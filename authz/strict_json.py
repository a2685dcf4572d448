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
# Every digit becomes 0 and every e small; a sign disappears, so that it does not stand between an e and its digits.
_DIGITS: Final = bytes.maketrans(b"123456789E", b"000000000e")


def _may_hold_large_numbers(octets: bytes) -> bool:
    """Whether some number has so many digits, or such an exponent, that it has to be looked at by itself.

    An integer beyond 2**53 has 16 digits; a double that is not finite has 16 digits or an exponent of three.
    """
    digits = octets.translate(_DIGITS, b"+")
    return b"0" * 16 in digits or b"e000" in digits


def _values_at_most(octets: bytes) -> int:
    """Each value is the text itself, or follows a bracket or a comma. Those inside strings count as well."""
    return 1 + octets.count(b",") + octets.count(b"[") + octets.count(b"{")


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
    if _values_at_most(octets) > max_values:
        return Malformed("count")
    decoder = _WARY_DECODER if _may_hold_large_numbers(octets) else _DECODER
    try:
        text = octets.decode("utf-8")
        value: JsonValue = decoder.decode(text)
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
    # Nesting cannot be deeper than there are opening brackets, and most texts have few.
    if text.count("{") + text.count("[") > max_depth and _deeper_than(value, max_depth):
        return Malformed("depth")
    return value
