"""The client by itself, against the examples of the RFCs and a verifier that is written here once more."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time

import pytest

from waooaw_signing import content_digest, sign, signature, signature_base
from waooaw_signing.signing import COMPONENTS, normal_path, signature_parameters

SECRET = "a secret of at least thirty-two octets"
URL = "https://internal.waooaw.ai/api/agents/vision?a=1"
BODY = b'{"id": "m-1"}'
# RFC 9421 appendix B.1.5 and B.2.5.
SHARED_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
B_2_5_INPUT = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
B_2_5_BASE = (
    '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
    '"@authority": example.com\n'
    '"content-type": application/json\n'
    f'"@signature-params": {B_2_5_INPUT}'
)


def test_the_rfcs_own_hmac_example_comes_out() -> None:
    components = ("date", "@authority", "content-type")
    parameters = signature_parameters(components, {"created": 1618884473, "keyid": "test-shared-secret"})
    values = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "@authority": "example.com",
        "content-type": "application/json",
    }
    base = signature_base(values, components, parameters)
    assert (parameters, base) == (B_2_5_INPUT, B_2_5_BASE)
    assert signature(base, SHARED_SECRET) == "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_the_rfcs_own_digest_comes_out() -> None:
    # RFC 9530 appendix D.
    assert content_digest(b'{"hello": "world"}') == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


def test_a_signature_verifies_over_what_was_sent() -> None:
    fields = sign("post", URL, BODY, "vision", SECRET)
    label, _, covered = fields["signature-input"].partition("=")
    assert fields["signature"].startswith(f"{label}=:")
    found = re.fullmatch(
        r'\("@method" "@authority" "@path" "@query" "content-digest"\);created=(\d+);nonce="([\w-]{16,128})"'
        r';keyid="vision";alg="hmac-sha256";tag="waooaw-agent"',
        covered,
    )
    assert found is not None
    assert abs(int(found[1]) - time.time()) < 60
    lines = [
        '"@method": POST',
        '"@authority": internal.waooaw.ai',
        '"@path": /api/agents/vision',
        '"@query": ?a=1',
        f'"content-digest": sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:',
        f'"@signature-params": {covered}',
    ]
    expected = hmac.new(SECRET.encode(), "\n".join(lines).encode(), hashlib.sha256).digest()
    assert base64.b64decode(fields["signature"][len(label) + 2 : -1]) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"url": URL.replace("vision", "memory")},
        {"url": URL + "&b=2"},
        {"url": URL.replace("internal", "external")},
        {"body": BODY + b" "},
        {"agent_id": "memory"},
        {"secret": SECRET + "x"},
        {"created": 2},
        {"nonce": "m" * 16},
    ],
    ids=str,
)
def test_every_part_of_a_request_is_signed(change: dict[str, object]) -> None:
    good: dict[str, object] = {
        "method": "POST",
        "url": URL,
        "body": BODY,
        "agent_id": "vision",
        "secret": SECRET,
        "created": 1,
        "nonce": "n" * 16,
    }
    one, other = sign(**good), sign(**{**good, **change})  # type: ignore[arg-type]
    assert one["signature"] != other["signature"]


def test_the_same_request_is_signed_anew_each_time() -> None:
    assert sign("GET", URL, b"", "vision", SECRET) != sign("GET", URL, b"", "vision", SECRET)


@pytest.mark.parametrize(
    ("path", "normal"),
    [("", "/"), ("//a///b", "/a/b"), ("/a/./b/../c", "/a/c"), ("/%7euser", "/~user"), ("/a%2fb", "/a%2fb")],
)
def test_the_path_is_signed_as_the_gateway_normalises_it(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize("url", ["", "/api", "ftp://example.com/", "https://", "https://example.com/é"])
def test_what_cannot_be_signed_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        sign("GET", url, b"", "vision", SECRET)


def test_all_that_the_gateway_demands_is_covered() -> None:
    assert COMPONENTS == ("@method", "@authority", "@path", "@query", "content-digest")
