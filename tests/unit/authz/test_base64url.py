"""Of all the texts that stand for the same octets, one is read."""

import base64

import pytest

from authz.identity import base64url


@pytest.mark.parametrize("octets", [b"a", b"ab", b"abc", b"\xff\xfe\xfd", bytes(range(256))])
def test_the_canonical_spelling_is_read(octets: bytes) -> None:
    assert base64url.decode(base64.urlsafe_b64encode(octets).rstrip(b"=")) == octets


@pytest.mark.parametrize(
    "text",
    [b"", b"Y", b"YQ==", b"YWI=", b"YR", b"YWJ", b"Y Q", b"YQ\n", b"+_8x", b"/_8x", b"YQ.", b"Y=Q=", b"\xff\xff"],
)
def test_any_other_spelling_is_not(text: bytes) -> None:
    assert base64url.decode(text) is None
