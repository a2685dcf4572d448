"""JSON that two readers could take for different things is not read."""

import pytest

from authz.strict_json import Malformed, read_json
from tests.unit.authz.hostile import calls_of


@pytest.mark.parametrize(
    ("octets", "value"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b" [] \n", []),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        (b"1.5e3", 1500.0),
        (b"[9007199254740991, -9007199254740991, 0, -0]", [2**53 - 1, 1 - 2**53, 0, 0]),
        (b"null", None),
        (b"[" + b"1," * 4093 + b"1]", [1] * 4094),
        (b'["0000000000000000", "e999", 1, 1.5, 1e-999, 12345678901234567.5]', None),
        (b"[" * 32 + b"]" * 32, None),
    ],
)
def test_a_plain_text_is_read(octets: bytes, value: object) -> None:
    found = read_json(octets)
    assert not isinstance(found, Malformed)
    assert value is None or found == value


@pytest.mark.parametrize(
    ("octets", "rule"),
    [
        (b"", "syntax"),
        (b"{", "syntax"),
        (b"{}{}", "syntax"),
        (b'{"a": 1,}', "syntax"),
        (b"{'a': 1}", "syntax"),
        (b'{"a": 1} // why', "syntax"),
        (b'"\t"', "syntax"),
        (b"01", "syntax"),
        (b"1" * 5000, "number"),
        (b"9007199254740992", "number"),
        (b"[-9007199254740992]", "number"),
        (b'"\\ud800"', "syntax"),
        (b'{"\\udc00": 1}', "syntax"),
        (b'{"a": 1, "a": 2}', "duplicate_name"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_name"),
        (b'[{"b": {"a": 1, "a": 1}}]', "duplicate_name"),
        (b"NaN", "number"),
        (b"[Infinity]", "number"),
        (b"-Infinity", "number"),
        (b"1e999", "number"),
        (b"\xff", "encoding"),
        (b'"\xc0\xaf"', "encoding"),
        (b'"\xed\xa0\x80"', "encoding"),
        ("{}".encode("utf-16"), "encoding"),
        ("{}".encode("utf-16-le"), "syntax"),
        (b"\xef\xbb\xbf{}", "syntax"),
        (b"[" * 33 + b"]" * 33, "depth"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "depth"),
        (b"[" * 4_000, "depth"),
        (b"[" * 4_000 + b"]" * 4_000, "depth"),
        (b"[" * 50_000, "count"),
        (b"[" * 50_000 + b"]" * 50_000, "count"),
        (b"[" + b"1," * 4095 + b"1]", "count"),
        (b"[" + b"{}," * 2047 + b"{}]", "count"),
        (b"1E999", "number"),
        (b"1e+999", "number"),
        (b"1e0999", "number"),
        (b"1" * 300 + b"e99", "number"),
        (b"1" * 300 + b".0e99", "number"),
    ],
)
def test_a_text_that_can_be_misread_is_refused_and_says_which_rule_it_broke(octets: bytes, rule: str) -> None:
    assert read_json(octets) == Malformed(rule)


def test_more_values_are_read_where_more_are_admitted() -> None:
    octets = b"[" + b"1," * 5000 + b"1]"
    assert read_json(octets) == Malformed("count")
    assert read_json(octets, max_values=5002) == [1] * 5001


@pytest.mark.parametrize("number", ["1", "1.5", "123456789012345", "-0.1e9", "1e99"])
def test_python_is_not_called_for_each_number(number: str) -> None:
    octets = f"[{','.join([number] * 4000)}]".encode()
    calls = calls_of(lambda: read_json(octets))
    assert calls < 100
