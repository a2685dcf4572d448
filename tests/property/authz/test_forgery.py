"""Nobody gets in with something that was not given to them: mutated, cut, joined and invented credentials."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.decision import Refusal
from authz.identity.hmac_signature import SignatureRules, verify_signature
from authz.identity.jwt import VerifiedToken, verify_token
from authz.identity.structured_fields import read_byte_sequences, read_inner_lists
from authz.pipeline import decide
from authz.request import Request
from tests.unit.authz.test_jwt import CUSTOMER
from tests.unit.authz.world import (
    API_KEY,
    ISSUER,
    NOW,
    b64,
    claims,
    facts,
    request,
    rsa_key,
    rules,
    sign_rs256,
    signed,
    token,
)

TOKEN = token()
SIGNED = signed(nonce="nonce-of-the-properties")
SIGNATURES = SignatureRules(60, "agent", "internal")
FACTS = facts()
RULES = rules()
ISSUERS = {ISSUER: CUSTOMER}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a few characters changed, left out, doubled or put in."""
    letters = list(text)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(letters) - 1))
        odd = draw(st.sampled_from("ABab01-_.=+/ ,\n\u00e9\x00\"'(;:") | st.characters(codec="utf-8"))
        match draw(st.sampled_from(["change", "drop", "double", "insert"])):
            case "change":
                letters[at] = odd
            case "drop":
                del letters[at]
            case "double":
                letters.insert(at, letters[at])
            case _:
                letters.insert(at, odd)
    return "".join(letters)


@given(mutated(TOKEN))
def test_a_mutated_token_is_never_taken(text: str) -> None:
    found = verify_token(text, ISSUERS, FACTS, NOW)
    assert not isinstance(found, VerifiedToken) or text == TOKEN


@given(st.text(max_size=200) | st.text("abcdefABCDEF0123456789-_.", max_size=200))
def test_an_invented_token_is_never_taken(text: str) -> None:
    assert not isinstance(verify_token(text, ISSUERS, FACTS, NOW), VerifiedToken)


@given(JSON | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "zip", "x"]), JSON), JSON)
def test_a_token_with_any_header_and_payload_but_no_key_is_never_taken(header: object, payload: object) -> None:
    text = ".".join(b64(json.dumps(part).encode()) for part in (header, payload)) + "." + TOKEN.rpartition(".")[2]
    assert not isinstance(verify_token(text, ISSUERS, FACTS, NOW), VerifiedToken)


@settings(max_examples=50)
@given(st.sampled_from(sorted(claims())), JSON)
def test_a_signed_token_with_any_odd_claim_is_read_without_an_exception(name: str, value: object) -> None:
    verify_token(token(**{name: value}), ISSUERS, FACTS, NOW)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip", "cty", "x5u"]), JSON))
def test_a_signed_token_with_any_odd_header_is_read_without_an_exception(header: dict[str, object]) -> None:
    text = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims()).encode())}"
    found = verify_token(f"{text}.{b64(sign_rs256(text.encode(), rsa_key('customer')))}", ISSUERS, FACTS, NOW)
    if isinstance(found, VerifiedToken):
        assert header["alg"] == "RS256"
        assert header["kid"] == "k1"
        assert not {"crit", "b64", "zip", "cty", "x5u"} & set(header)


def admitted(asked: Request) -> bool:
    return not isinstance(verify_signature(asked, SIGNATURES, FACTS, NOW), Refusal)


@given(mutated(SIGNED.headers["signature-input"]))
def test_a_mutated_signature_input_is_taken_only_where_it_says_the_same(text: str) -> None:
    if admitted(replace(SIGNED, headers={**SIGNED.headers, "signature-input": text})):
        assert read_inner_lists(text) == read_inner_lists(SIGNED.headers["signature-input"])


@given(mutated(SIGNED.headers["signature"]))
def test_a_mutated_signature_is_taken_only_where_it_says_the_same(text: str) -> None:
    if admitted(replace(SIGNED, headers={**SIGNED.headers, "signature": text})):
        assert read_byte_sequences(text) == read_byte_sequences(SIGNED.headers["signature"])


@given(mutated(SIGNED.headers["content-digest"]))
def test_a_mutated_digest_is_never_taken(text: str) -> None:
    assert not admitted(replace(SIGNED, headers={**SIGNED.headers, "content-digest": text})) or (
        text == SIGNED.headers["content-digest"]
    )


@given(st.binary(max_size=200))
def test_another_body_under_a_signature_is_never_taken(body: bytes) -> None:
    assert not admitted(replace(SIGNED, body=body)) or body == SIGNED.body


@given(mutated(SIGNED.path), mutated("POST"), st.none() | st.text(max_size=10))
def test_another_target_under_a_signature_is_never_taken(path: str, method: str, query: str | None) -> None:
    for changed in (replace(SIGNED, path=path), replace(SIGNED, method=method), replace(SIGNED, query=query)):
        same = (changed.path, changed.method, changed.query or "") == (SIGNED.path, SIGNED.method, "")
        assert not admitted(changed) or same


HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "authorization",
            "x-api-key",
            "signature",
            "signature-input",
            "content-digest",
            "content-type",
            "content-length",
            "content-encoding",
            "cookie",
            "upgrade",
            "x-waooaw-client-address",
            "x-waooaw-subject",
            "x-request-id",
            "x-envoy-auth-partial-body",
        ]
    ),
    st.text(max_size=40)
    | st.sampled_from(
        [
            f"Bearer {TOKEN[:-1]}",
            f"Basic {TOKEN}",
            f"Bearer {TOKEN}, Bearer {TOKEN}",
            API_KEY[:-1],
            f"{API_KEY}, {API_KEY}",
            SIGNED.headers["signature"],
            SIGNED.headers["signature-input"],
            "application/json",
        ]
    ),
    max_size=6,
)


@given(
    HEADERS,
    st.sampled_from(sorted(RULES.routes)),
    st.sampled_from(["GET", "POST", "PUT", "", "get"]) | st.text(max_size=6),
    st.text(max_size=30) | st.sampled_from([route.path for route in RULES.routes.values()]),
    st.none() | st.binary(max_size=50),
    st.sampled_from(["mesh", "inner", ""]),
    st.booleans(),
)
def test_without_a_good_credential_only_public_routes_are_open(
    headers: dict[str, str], route: str, method: str, path: str, body: bytes | None, listener: str, exact: bool
) -> None:
    asked = request(route, path, method, headers, body=body, listener=listener, exact=exact)
    found = decide(asked, RULES, FACTS, NOW)
    assert not found.allowed or route == "docs"
