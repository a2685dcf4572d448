"""Whatever octets arrive, the parsers answer; and what they take has one reading."""

import base64
import json
import posixpath
from math import isfinite
from urllib.parse import unquote

import orjson
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st

from authz.addresses import read_address
from authz.checks.target import is_normal_path
from authz.identity import base64url
from authz.identity.structured_fields import InnerList, read_byte_sequences, read_inner_lists
from authz.strict_json import Malformed, read_json
from authz.wire import read_request
from protos import ext_authz_pb2 as pb

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
JSON_LIKE = st.text('{}[]:,"\\u0123456789abcdefeE+-.ntrlsy \t\n', max_size=60).map(str.encode)
FIELD_LIKE = st.text('sig1=("@method") ;,:created0123456789.-?*AZaz/+=\\\t\x00é', max_size=80)
PATH_LIKE = st.text("/.%25;\\aA0eEfFcC ~?#\x00é", max_size=40).map(lambda text: "/" + text)


@given(JSON)
def test_json_that_is_written_is_read_back(value: object) -> None:
    found = read_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if isinstance(found, Malformed):
        assert found.rule in {"encoding", "depth"}
    else:
        assert found == value


@given(st.binary(max_size=200) | JSON_LIKE)
@example(b'{"a":1,"a":1}')
@example(b'"\\ud800"')
def test_json_never_raises_and_what_it_takes_a_second_reader_takes_alike(octets: bytes) -> None:
    found = read_json(octets)
    if not isinstance(found, Malformed):
        assert orjson.loads(octets) == found


NUMBER_LIKE = st.from_regex(r"-?(0|[1-9][0-9]{0,320})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(NUMBER_LIKE)
@example("9007199254740992")
@example("1e309")
@example("1E+0309")
@example("1" * 211 + "e99")
def test_a_number_that_is_read_is_one_that_a_double_holds(text: str) -> None:
    found = read_json(text.encode())
    exact = "." not in text and "e" not in text.lower()
    holds = abs(int(text)) < 2**53 if exact else isfinite(float(text))
    assert found == ((int(text) if exact else float(text)) if holds else Malformed("number"))


@given(st.binary(max_size=64))
def test_base64url_has_one_spelling_for_all_octets(octets: bytes) -> None:
    text = base64.urlsafe_b64encode(octets).rstrip(b"=")
    assert base64url.decode(text) == (octets or None)


@given(st.binary(max_size=64) | st.text("ABab01-_=+/ \n", max_size=16).map(str.encode))
def test_base64url_never_raises_and_takes_no_second_spelling(text: bytes) -> None:
    octets = base64url.decode(text)
    if octets is not None:
        assert base64.urlsafe_b64encode(octets).rstrip(b"=") == text


@given(FIELD_LIKE | st.text(max_size=80))
def test_structured_fields_never_raise_and_are_written_back_as_they_are_read(text: str) -> None:
    read_byte_sequences(text)
    for found in (read_inner_lists(text) or {}).values():
        assert read_inner_lists(f"x={found.serialised()}") == {"x": found}


@given(
    st.lists(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)), max_size=5),
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9_.*-]{0,8}", fullmatch=True),
        st.integers(-(10**15) + 1, 10**15 - 1) | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E)),
        max_size=5,
    ),
)
def test_an_inner_list_that_is_written_is_read_back(items: list[str], parameters: dict[str, int | str]) -> None:
    written = InnerList(tuple(items), tuple(parameters.items()))
    assert read_inner_lists(f"sig1={written.serialised()}") == {"sig1": written}


@given(PATH_LIKE | st.text(max_size=40))
@example("/a/%2e%2e/b")
@example("/a/..;/b")
def test_every_reader_of_a_normal_path_sees_the_same_segments(path: str) -> None:
    if not is_normal_path(path):
        return
    once = unquote(path, errors="strict")
    assert unquote(once, errors="strict") == once
    assert once.count("/") == path.count("/")
    assert posixpath.normpath(once) == (once.rstrip("/") or "/")
    assert not any(
        segment.partition(";")[0] in {"", ".", ".."} for segment in once.strip("/").split("/") if once != "/"
    )
    assert "\\" not in once
    assert once.isprintable() or not any(character < " " for character in once)


@given(st.text(max_size=50) | st.from_regex(r"[0-9a-fA-F.:%/]{0,46}", fullmatch=True))
def test_addresses_never_raise(text: str) -> None:
    address = read_address(text)
    assert address is None or str(address)


@given(st.binary(max_size=300))
def test_any_check_that_can_be_parsed_can_be_read(octets: bytes) -> None:
    try:
        message = pb.CheckRequest.FromString(octets)
    except DecodeError:
        return
    read_request(message)
