"""The parts of RFC 9651 that signatures use, and nothing beside them."""

import pytest

from authz.identity.structured_fields import MAX_FIELD, InnerList, Token, read_byte_sequences, read_inner_lists


def test_an_inner_list_with_parameters_is_read_and_written_back_in_its_one_form() -> None:
    found = read_inner_lists('sig1=( "@method"   "a\\"b\\\\" );created=12;  nonce="n";x;y=tok/en;z=-5')
    assert found == {
        "sig1": InnerList(
            ("@method", 'a"b\\'), (("created", 12), ("nonce", "n"), ("x", True), ("y", Token("tok/en")), ("z", -5))
        )
    }
    assert found["sig1"].serialised() == '("@method" "a\\"b\\\\");created=12;nonce="n";x;y=tok/en;z=-5'


def test_an_empty_list_and_several_members_are_read() -> None:
    assert read_inner_lists('a=() , b=("x")') == {"a": InnerList((), ()), "b": InnerList(("x",), ())}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sig1",
        "sig1=",
        'sig1="x"',
        "sig1=(x)",
        "sig1=(1)",
        'sig1=("x"',
        'sig1=("x"))',
        'sig1=("x""y")',
        'sig1=("x";bs)',
        'sig1=("x" ;a)',
        'sig1=("x");created=1.5',
        'sig1=("x");created=1e20',
        'sig1=("x");created=1234567890123456',
        'sig1=("x");created=\u0661',
        'sig1=("x");created=--1',
        'sig1=("x");created=:AA==:',
        'sig1=("x");created=?1',
        'sig1=("x");a=1;a=2',
        'sig1=("x");A=1',
        'sig1=("x"),sig1=("y")',
        'sig1=("x"),',
        'sig1=("x");;a',
        'SIG1=("x")',
        'sig1=("\x07")',
        'sig1=("\\x")',
        'sig1=("é")',
        ' sig1=("x")',
        'sig1=("x") ',
        'sig1=("x")\n',
        "sig1=(" + '"x" ' * MAX_FIELD + ")",
    ],
)
def test_anything_else_is_not_an_inner_list(text: str) -> None:
    assert read_inner_lists(text) is None


def test_byte_sequences_are_read() -> None:
    assert read_byte_sequences("sha-256=:YWJj:, sha-512=::") == {"sha-256": b"abc", "sha-512": b""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a=:YWJj",
        "a=YWJj",
        "a=:YWJ:",
        "a=:YW Jj:",
        "a=:YWJ=:",
        "a=:YR==:",
        "a=:YQ:",
        "a=:_-8=:",
        "a=:YWJj:;p",
        "a=:YWJj:,a=:YWJj:",
        'a="x"',
        "a=:YWJj:" + " " * MAX_FIELD,
    ],
)
def test_anything_else_is_not_a_byte_sequence(text: str) -> None:
    assert read_byte_sequences(text) is None
