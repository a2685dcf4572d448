"""The client library writes what RFC 9421 says and what the gateway verifies."""

import base64

import pytest

from authz.decision import Refusal
from authz.identity.hmac_signature import SignatureRules, verify_signature
from authz.identity.hmac_signature import signature_base as verifiers_base
from authz.identity.structured_fields import read_inner_lists
from tests.unit.authz.world import AGENT_SECRET, NOW, facts, request, signed
from waooaw_signing import content_digest, sign, signature, signature_base
from waooaw_signing.signing import normal_path, signature_parameters

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
B_2_5_SIGNATURE = "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_the_rfcs_own_hmac_example_comes_out_of_the_client() -> None:
    components = ("date", "@authority", "content-type")
    parameters = signature_parameters(components, {"created": 1618884473, "keyid": "test-shared-secret"})
    assert parameters == B_2_5_INPUT
    values = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "@authority": "example.com",
        "content-type": "application/json",
    }
    base = signature_base(values, components, parameters)
    assert base == B_2_5_BASE
    assert signature(base, SHARED_SECRET) == B_2_5_SIGNATURE


def test_the_rfcs_own_hmac_example_has_the_same_base_in_the_verifier() -> None:
    asked = request(
        method="POST",
        headers={"date": "Tue, 20 Apr 2021 02:07:55 GMT", "content-type": "application/json"},
        authority="example.com",
    )
    covered = read_inner_lists(f"sig-b25={B_2_5_INPUT}")
    assert covered is not None
    assert verifiers_base(asked, covered["sig-b25"]) == B_2_5_BASE.encode()


def test_the_rfcs_own_digests_come_out_of_the_client() -> None:
    # RFC 9421 appendix B.2 uses sha-512; RFC 9530 appendix D gives this one.
    assert content_digest(b'{"hello": "world"}') == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


@pytest.mark.requirement("R60")
@pytest.mark.parametrize("secret", [AGENT_SECRET, AGENT_SECRET.decode()])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/agents/vision", b'{"a": 1}'),
        ("post", "/api/agents/vision?a=1&b=%20+", b"x"),
        ("GET", "/api/agents/vision?", b""),
        ("GET", "/", b""),
    ],
)
def test_what_the_client_signs_the_gateway_verifies(method: str, path: str, body: bytes, secret: bytes | str) -> None:
    fields = sign(method, f"https://Agents.example.com:443{path}", body, "content", secret, int(NOW))
    asked = request(path=path, method=method.upper(), headers=fields, body=body or None, authority="agents.example.com")
    if path.endswith("?"):
        asked.query = ""
    found = verify_signature(asked, SignatureRules(60, "agent", "internal"), facts(), NOW)
    assert not isinstance(found, Refusal), found.cause


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/../a", "/a"),
        ("/%7euser/%41", "/~user/A"),
        ("/a%2fb%20%c3%a9", "/a%2fb%20%c3%a9"),
        ("/a/%2e%2e/b", "/b"),
    ],
)
def test_the_path_is_signed_as_the_gateway_normalises_it(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("https://Example.COM/", "example.com"),
        ("https://example.com:443/", "example.com"),
        ("https://example.com:8443/", "example.com:8443"),
        ("http://example.com:80/", "example.com"),
        ("http://example.com:443/", "example.com:443"),
        ("https://user:pw@example.com/", "example.com"),
        ("https://[2001:db8::1]:8443/", "[2001:db8::1]:8443"),
    ],
)
def test_the_authority_is_signed_in_its_one_form(url: str, authority: str) -> None:
    one = sign("GET", url, b"", "content", AGENT_SECRET, 1, "n" * 16)
    other = sign("GET", url, b"", "content", AGENT_SECRET, 1, "n" * 16)
    assert one == other
    asked = request(path="/", headers=one, authority=authority, scheme=url.partition(":")[0], body=None)
    assert not isinstance(verify_signature(asked, SignatureRules(60, "agent", "internal"), facts(), 1.0), Refusal)


def test_two_signatures_of_one_request_differ() -> None:
    url = "https://agents.example.com/api/agents/vision"
    assert sign("GET", url, b"", "content", AGENT_SECRET) != sign("GET", url, b"", "content", AGENT_SECRET)


@pytest.mark.parametrize(
    "url", ["", "/api/agents", "ftp://example.com/", "https://", "https://example.com/é", "https://example.com/a b"]
)
def test_what_cannot_be_signed_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        sign("GET", url, b"", "content", AGENT_SECRET)


def test_an_agent_id_cannot_break_out_of_its_quotes() -> None:
    with pytest.raises(ValueError, match="ASCII"):
        sign("GET", "https://example.com/", b"", "a\nb", AGENT_SECRET)
    fields = sign("GET", "https://example.com/", b"", 'a";alg="none', AGENT_SECRET)
    assert 'keyid="a\\";alg=\\"none"' in fields["signature-input"]


def test_the_helper_of_these_tests_signs_as_the_client_does() -> None:
    assert "signature-input" in signed().headers
