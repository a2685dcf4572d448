"""The quick reader of JSON says of every text what the slow one says, which looks at each rule by itself."""

import json
import re
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from authz import strict_json
from authz.strict_json import Malformed, read_json, read_warily
from tests.property.authz.test_parsers import FLOATS, JSON_LIKE, NUMBER_LIKE

MOST, DEEPEST = 200, 5
# Texts in which the end of a name, a number or white space seems to stand where none does.
TRICKS = st.sampled_from(
    ['":', '"', ":", ' "a" :', '\\"', '","a":1', "e999", "1" * 16, "{", "}", "[", "\\", "\u2028", "\ud83d\ude00", " :"]
)
TEXTS = st.text(max_size=6) | st.lists(TRICKS | st.text(max_size=2), max_size=4).map("".join)
NUMBERS = st.integers(-(2**64), 2**64) | FLOATS | st.sampled_from([0.0, -0.0, 1e22, 5e-324, 1.7976931348623157e308])
# Few names, so that they meet.
NAMES = st.sampled_from(["a", "b", "aa", "", '":', "é", 'a"', "\x00"]) | TEXTS
SPACES = st.sampled_from(["", "", "", " ", "\n", "\t \r", "\x0b", "\u00a0", "\ufeff"])


@st.composite
def written(draw: st.DrawFn, depth: int = 0) -> str:
    """A text of JSON as somebody might write it: any white space, any escapes, names that are repeated."""
    kind = draw(st.integers(0, 5 if depth < 7 else 3))
    around, behind = draw(SPACES), draw(SPACES)
    if kind <= 1:
        text = string(draw, TEXTS)
    elif kind == 2:
        text = draw(NUMBER_LIKE | NUMBERS.map(repr))
    elif kind == 3:
        text = draw(st.sampled_from(["null", "true", "false", "NaN", "-Infinity", "nul", "01", "1.", "{}", "[]", ""]))
    elif kind == 4:
        text = "[" + ",".join(draw(written(depth + 1)) for _ in range(draw(st.integers(0, 4)))) + "]"
    else:
        members = [
            f"{draw(SPACES)}{string(draw, NAMES)}{draw(SPACES)}:{draw(written(depth + 1))}"
            for _ in range(draw(st.integers(0, 4)))
        ]
        text = "{" + ",".join(members) + "}"
    return around + text + behind


def string(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    quoted = json.dumps(draw(texts), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        return quoted
    return re.sub(r"(?<=[\"a-z])[a-z](?=[\"a-z])", lambda found: f"\\u{ord(found[0]):04x}", quoted)


def slowly(octets: bytes, deepest: int, most: int) -> object:
    if 1 + sum(map(octets.count, (b",", b"[", b"{"))) > most:
        return Malformed("count")
    return read_warily(octets, deepest)


def agree(octets: bytes) -> None:
    # By their texts, which tell 1 from 1.0 and from true, and -0.0 from 0.0.
    for deepest, most in ((DEEPEST, MOST), (32, 4096)):
        assert repr(read_json(octets, deepest, most)) == repr(slowly(octets, deepest, most))


@settings(max_examples=150, deadline=None)
@given(written())
@example('{"a":1,"a":2}')
@example('{"a":1,"\\u0061":2}')
@example('{"a" :1,"a":2}')
@example('{"a":"\\":","b" \n:1,"b":2}')
@example('{"a":{"a":1},"b":[{"a":1,"a":1}]}')
@example('{"":1,"":1}')
@example('[{"a":1},{"a":1}]')
@example('{"a":"\\":","a":"b"}')
def test_whatever_is_written_is_read_alike(text: str) -> None:
    agree(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(written(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), st.binary(max_size=2)), max_size=4))
def test_what_is_spoiled_is_refused_alike(text: str, spoils: list[tuple[int, int, bytes]]) -> None:
    octets = text.encode("utf-8", "surrogatepass")
    for at, cut, put in spoils:
        octets = octets[:at] + put + octets[at + cut :]
    agree(octets)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=120) | JSON_LIKE | NUMBER_LIKE.map(str.encode))
def test_octets_are_refused_alike(octets: bytes) -> None:
    agree(octets)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), NUMBER_LIKE | TEXTS.map(json.dumps), max_size=6), SPACES, st.data())
def test_a_repeated_name_is_found_wherever_it_stands(members: dict[str, str], space: str, data: st.DataObject) -> None:
    repeated = [*members.items(), data.draw(st.sampled_from([*members.items(), ("a", "1")]))]
    text = ",".join(f"{json.dumps(name)}{space}:{value}" for name, value in data.draw(st.permutations(repeated)))
    agree(f"{{{text}}}".encode())
    if len(repeated) > len(dict(repeated)):
        assert isinstance(read_json(f"[{{{text}}}]".encode()), Malformed)


@pytest.mark.parametrize(
    "octets",
    [
        b'{"iss":"https://auth.example","scopes":["a:*"],"exp":1800003000}',
        b'{ "a" : 1, "b" : { "c" : [ { "d" : 1.5 } ] } }',
        b'[{"a": "x: y"}]',
    ],
)
def test_ordinary_texts_are_read_quickly(octets: bytes) -> None:
    with patch.object(strict_json, "read_warily", side_effect=AssertionError):
        assert not isinstance(read_json(octets), Malformed)
