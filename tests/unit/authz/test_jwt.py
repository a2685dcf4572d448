"""Access tokens: what is taken, and everything that is not (attacks A1 to A18)."""

import hmac
import json
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.decision import MissingKey, Refusal
from authz.facts import Facts, Revocations
from authz.identity.claims import IssuerRules
from authz.identity.jwt import VerifiedToken, still_holds, verify_token
from authz.reasons import Reason
from policy.access import Algorithm
from tests.unit.authz.world import (
    ADMIN_ISSUER,
    AUDIENCE,
    ISSUER,
    KEYS,
    NOW,
    SYMMETRIC_SECRET,
    b64,
    claims,
    compact,
    ec_jwk,
    ec_key,
    ed_jwk,
    ed_key,
    facts,
    key_set,
    rsa_jwk,
    rsa_key,
    sign_es256,
    sign_rs256,
    symmetric_keys,
    token,
)

CUSTOMER = IssuerRules("customer", KEYS["customer"], ISSUER, AUDIENCE, "RS256", None, 3600, 5)
ADMIN = IssuerRules("admin", KEYS["admin"], ADMIN_ISSUER, AUDIENCE, "RS256", None, 3600, 5)
PEM = rsa_key("customer").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
DER = rsa_key("customer").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
# SEC 2 §2.4.2.
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
JWK = json.dumps(rsa_jwk(rsa_key("customer"))).encode()


def verify(
    text: str, known: Facts | None = None, now: float = NOW, **changes: object
) -> VerifiedToken | Refusal | MissingKey:
    customer = replace(CUSTOMER, **changes)  # type: ignore[arg-type]
    return verify_token(text, {customer.issuer: customer, ADMIN.issuer: ADMIN}, known or facts(), now)


def reason(found: VerifiedToken | Refusal | MissingKey) -> Reason:
    assert isinstance(found, Refusal), found
    return found.reason


@pytest.mark.requirement("R12", "R24", "R86", "R87", "R91")
def test_a_good_token_says_who_calls() -> None:
    found = verify(token(tenant_id="acme"))
    assert isinstance(found, VerifiedToken)
    principal = found.principal
    assert (principal.subject, principal.role, principal.tier) == ("user_1", "customer", "business")
    assert principal.scopes == {"marketing:*"}
    assert principal.issuer == "customer"
    assert principal.caller == "tenant:acme"


def test_a_caller_without_a_tenant_is_counted_by_subject() -> None:
    found = verify(token())
    assert isinstance(found, VerifiedToken)
    assert found.principal.caller == "sub:user_1"


@pytest.mark.requirement("R87")
@pytest.mark.parametrize(
    ("algorithm", "keys", "sign"),
    [
        (Algorithm.ES256, key_set(ec_jwk(ec_key("customer")), algorithm=Algorithm.ES256), sign_es256),
        (Algorithm.EDDSA, key_set(ed_jwk(ed_key("customer")), algorithm=Algorithm.EDDSA), ed_key("customer").sign),
        (Algorithm.HS256, symmetric_keys(), lambda message: hmac.digest(SYMMETRIC_SECRET, message, "sha256")),
    ],
)
def test_each_algorithm_verifies_for_the_issuer_that_is_declared_with_it_and_no_other(
    algorithm: Algorithm, keys: object, sign: object
) -> None:
    known = facts(key_sets={"customer": keys})
    text = compact({"alg": algorithm.value, "kid": "k1"}, claims(), sign)
    assert isinstance(verify(text, known, algorithm=algorithm.value), VerifiedToken)
    assert reason(verify(text, known)) is Reason.TOKEN_INVALID
    assert reason(verify(text, known, algorithm="RS512")) is Reason.TOKEN_INVALID


@pytest.mark.parametrize(
    "octets",
    [
        *(bytes(64), b"\x00" * 31 + b"\x01" + bytes(32), b"\xff" * 64, P256_ORDER.to_bytes(32, "big") * 2),
        *(b"\x01" * 63, b"\x01" * 65),
    ],
)
def test_a_signature_outside_the_numbers_of_its_curve_is_refused(octets: bytes) -> None:
    known = facts(key_sets={"customer": key_set(ec_jwk(ec_key("customer")), algorithm=Algorithm.ES256)})
    text = compact({"alg": "ES256", "kid": "k1"}, claims(), lambda _: octets)
    assert reason(verify(text, known, algorithm="ES256")) is Reason.TOKEN_INVALID


def test_any_of_a_symmetric_issuers_secrets_verifies_while_one_is_rotated() -> None:
    known = facts(key_sets={"customer": symmetric_keys(b"n" * 32, SYMMETRIC_SECRET)})
    text = compact({"alg": "HS256"}, claims(), lambda message: hmac.digest(SYMMETRIC_SECRET, message, "sha256"))
    assert isinstance(verify(text, known, algorithm="HS256"), VerifiedToken)


def _signed(header: dict[str, object], **changes: object) -> str:
    return token(header=header, **changes)


def _hmac_with(secret: bytes) -> str:
    return compact({"alg": "HS256", "kid": "k1"}, claims(), lambda message: hmac.digest(secret, message, "sha256"))


def _without_signature(algorithm: str) -> str:
    return compact({"alg": algorithm, "kid": "k1"}, claims(), lambda _: b"")


HEADERS = {
    "A1 none": _without_signature("none"),
    "A1 None": _without_signature("None"),
    "A1 nOnE": _without_signature("nOnE"),
    "A1 empty signature": _without_signature("RS256"),
    "A1 none with the signature of a good token": compact({"alg": "none", "kid": "k1"}, claims()),
    "A1 no alg": compact({"kid": "k1"}, claims()),
    "A1 alg is a list": _signed({"alg": ["RS256"]}),
    "A1 alg is null": _signed({"alg": None}),
    "A2 HS256 with the PEM": _hmac_with(PEM),
    "A2 HS256 with the PEM without its last line end": _hmac_with(PEM.rstrip()),
    "A2 HS256 with the PEM and CRLF": _hmac_with(PEM.replace(b"\n", b"\r\n")),
    "A2 HS256 with the DER": _hmac_with(DER),
    "A2 HS256 with the JWK": _hmac_with(JWK),
    "A2 RS384": _signed({"alg": "RS384"}),
    "A2 PS256": _signed({"alg": "PS256"}),
    "A2 lower case": _signed({"alg": "rs256"}),
    "A3 kid of 10 KB": _signed({"kid": "k" * 10_000}),
    "A3 kid is a number": _signed({"kid": 1}),
    "A3 kid is a list": _signed({"kid": ["k1"]}),
    "A3 kid is null": _signed({"kid": None}),
    "A3 kid is empty": _signed({"kid": ""}),
    "A3 no kid": compact({"alg": "RS256"}, claims()),
    "A4 jwk": _signed({"jwk": rsa_jwk(rsa_key("other"))}),
    "A4 jku": _signed({"jku": "https://evil.example/jwks"}),
    "A4 x5u": _signed({"x5u": "https://evil.example/x5u"}),
    "A4 x5c": _signed({"x5c": ["MIIB"]}),
    "A5 crit": _signed({"crit": ["x"], "x": 1}),
    "A5 empty crit": _signed({"crit": []}),
    "A5 b64": _signed({"b64": False}),
    "A6 zip": _signed({"zip": "DEF"}),
    "A6 nested": _signed({"cty": "JWT"}),
    "A11 id token by typ": _signed({"typ": "id+jwt"}),
    "A11 logout token": _signed({"typ": "logout+jwt"}),
    "A11 typ is a number": _signed({"typ": 1}),
    "header is a list": compact([], claims()),
    "header is not JSON": compact(b"nonsense", claims()),
    "header twice alg": compact(b'{"alg":"none","alg":"RS256","kid":"k1"}', claims()),
}


@pytest.mark.attack("A1", "A2", "A3", "A4", "A5", "A6", "A11")
@pytest.mark.requirement("R87", "R103")
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_not_an_honest_tokens_is_refused(name: str) -> None:
    assert reason(verify(HEADERS[name])) is Reason.TOKEN_INVALID


PAYLOADS = {
    "A8 iat beyond the leeway": {"iat": NOW + 6},
    "A8 nbf beyond the leeway": {"nbf": NOW + 6},
    "A8 nbf is text": {"nbf": "0"},
    "A8 longer than an hour": {"iat": NOW, "exp": NOW + 3606},
    "A8 exp before iat": {"iat": NOW, "exp": NOW},
    "A8 exp in milliseconds": {"exp": NOW * 1000},
    "A9 other audience": {"aud": "https://other.example.com"},
    "A9 audience in other case": {"aud": AUDIENCE.upper()},
    "A9 audience as a part": {"aud": AUDIENCE + "/x"},
    "A9 no audience": {"aud": ...},
    "A9 empty audience": {"aud": []},
    "A9 audience is an object": {"aud": {AUDIENCE: True}},
    "A9 hundred audiences": {"aud": [AUDIENCE] * 100},
    "A11 other issuer's name": {"iss": "https://evil.example.com"},
    "A11 admin's name": {"iss": ADMIN_ISSUER},
    "A11 no issuer": {"iss": ...},
    "A11 issuer is a list": {"iss": [ISSUER]},
    "no subject": {"sub": ...},
    "empty subject": {"sub": ""},
    "subject is a number": {"sub": 5},
    "subject ends a line": {"sub": "a\r\nx-waooaw-role: admin"},
    "subject is not ASCII": {"sub": "jos\u00e9"},
    "subject has a blank": {"sub": "a b"},
    "subject of 256": {"sub": "s" * 256},
    "no role": {"role": ...},
    "role is a list": {"role": ["customer"]},
    "no scopes": {"scopes": ...},
    "scopes are text": {"scopes": "marketing:*"},
    "scopes hold a number": {"scopes": ["marketing:*", 5]},
    "scopes hold a list": {"scopes": [["marketing:*"]]},
    "scopes hold a line end": {"scopes": ["marketing:*\n"]},
    "too many scopes": {"scopes": [f"s{n}" for n in range(101)]},
    "tenant is a number": {"tenant_id": 5},
    "tenant with a slash": {"tenant_id": "a/b"},
    "jti is a number": {"jti": 5},
    "no iat": {"iat": ...},
    "iat is text": {"iat": "0"},
    "iat is true": {"iat": True},
    "no exp": {"exp": ...},
    "exp is null": {"exp": None},
    "exp is true": {"exp": True},
    "exp is text": {"exp": str(int(NOW) + 60)},
    "exp is negative": {"exp": -1},
}


@pytest.mark.attack("A8", "A9", "A11")
@pytest.mark.requirement("R88", "R89", "R90", "R91", "R103")
@pytest.mark.parametrize("name", PAYLOADS)
def test_claims_that_are_not_a_good_tokens_are_refused(name: str) -> None:
    assert reason(verify(token(**PAYLOADS[name]))) is Reason.TOKEN_INVALID


FORMS = {
    "A6 five parts": ".".join(["eyJhbGciOiJSUzI1NiJ9"] * 5),
    "two parts": ".".join(token().split(".")[:2]),
    "four parts": token() + ".AAAA",
    "one part": "garbage",
    "empty": "",
    "dots": "..",
    "A7 9 KB": token(padding="x" * 9000),
    "A7 a megabyte of header": "a" * 1_000_000 + ".e30.AAAA",
    "A7 header of 2 KB": _signed({"x": "x" * 2000}),
    "A12 two tokens": f"{token()}, Bearer {token()}",
    "A12 two tokens with a comma": f"{token()},{token()}",
    "blank inside": token().replace(".", " .", 1),
    "padded": token() + "=",
    "standard alphabet": token()[:-2] + "+/",
    "not ASCII": token() + "é",
    "payload is a list": compact({"alg": "RS256", "kid": "k1"}, []),
    "payload twice sub": compact(
        {"alg": "RS256", "kid": "k1"}, json.dumps(claims())[:-1].encode() + b', "sub": "admin"}'
    ),
    "payload is not JSON": compact({"alg": "RS256", "kid": "k1"}, b"{"),
    "payload is not UTF-8": compact(
        {"alg": "RS256", "kid": "k1"}, json.dumps(claims())[:-1].encode() + b', "name": "\xff"}'
    ),
    "payload is UTF-16": compact({"alg": "RS256", "kid": "k1"}, json.dumps(claims()).encode("utf-16")),
    "payload with NaN": compact({"alg": "RS256", "kid": "k1"}, json.dumps(claims(x=float("nan"))).encode()),
}


@pytest.mark.attack("A6", "A7", "A12")
@pytest.mark.requirement("R103")
@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_one_compact_token_is_refused(name: str) -> None:
    assert reason(verify(FORMS[name])) is Reason.TOKEN_INVALID


@pytest.mark.requirement("R87", "R103")
def test_a_token_of_another_key_is_refused_under_every_name() -> None:
    for issuer in (ISSUER, ADMIN_ISSUER):
        key = rsa_key("admin") if issuer == ISSUER else rsa_key("customer")
        assert reason(verify(token(key, iss=issuer))) is Reason.TOKEN_INVALID


@pytest.mark.requirement("R88", "R92")
def test_only_a_token_whose_one_fault_is_its_age_is_told_that_it_expired() -> None:
    old = {"iat": NOW - 3000, "exp": NOW - 10}
    assert reason(verify(token(**old))) is Reason.TOKEN_EXPIRED
    assert reason(verify(token(rsa_key("other"), **old))) is Reason.TOKEN_INVALID
    assert reason(verify(token(**old, aud="other"))) is Reason.TOKEN_INVALID
    assert reason(verify(token(**old, sub=...))) is Reason.TOKEN_INVALID
    assert reason(verify(token(iat=NOW - 9000, exp=NOW - 10))) is Reason.TOKEN_INVALID


@pytest.mark.attack("A8")
@pytest.mark.requirement("R88")
@pytest.mark.parametrize(
    ("changes", "good"),
    [
        ({"exp": NOW - 5}, False),
        ({"exp": NOW - 4.9}, True),
        ({"exp": NOW}, True),
        ({"iat": NOW + 5}, True),
        ({"iat": NOW + 5.1}, False),
        ({"nbf": NOW + 5}, True),
        ({"nbf": NOW + 5.1}, False),
        ({"iat": NOW, "exp": NOW + 3605}, True),
        ({"iat": NOW, "exp": NOW + 3605.1}, False),
    ],
)
def test_times_hold_to_the_second_of_the_leeway(changes: dict[str, float], good: bool) -> None:
    assert isinstance(verify(token(**changes)), VerifiedToken) is good


@pytest.mark.requirement("R90")
def test_our_audience_may_stand_beside_others() -> None:
    assert isinstance(verify(token(aud=["https://other.example.com", AUDIENCE])), VerifiedToken)


@pytest.mark.parametrize(
    ("typ", "demanded", "good"),
    [
        *(("JWT", None, True), ("jwt", None, True), ("at+jwt", None, True), ("application/at+jwt", None, True)),
        *(("at+jwt", "at+jwt", True), ("application/AT+JWT", "at+jwt", True)),
        *(("JWT", "at+jwt", False), ("id+jwt", "at+jwt", False)),
    ],
)
def test_the_type_of_a_token_is_the_issuers(typ: str, demanded: str | None, good: bool) -> None:
    assert isinstance(verify(token(header={"typ": typ}), token_type=demanded), VerifiedToken) is good


def test_a_token_without_a_type_is_refused_where_one_is_demanded() -> None:
    text = compact({"alg": "RS256", "kid": "k1"}, claims())
    assert isinstance(verify(text), VerifiedToken)
    assert reason(verify(text, token_type="at+jwt")) is Reason.TOKEN_INVALID


@pytest.mark.requirement("R70", "R91")
@pytest.mark.parametrize("tier", [..., None, 5, ["business"], {"a": 1}, "", "a b", "x" * 65])
def test_a_tier_that_could_not_be_one_is_none(tier: object) -> None:
    found = verify(token(tier=tier))
    assert isinstance(found, VerifiedToken)
    assert found.principal.tier == ""


@pytest.mark.requirement("R24")
def test_an_unknown_kid_is_reported_so_that_it_can_be_looked_for() -> None:
    assert verify(token(header={"kid": "k2"})) == MissingKey(KEYS["customer"], "k2")
    for odd in ("../../dev/null", "' OR 1=1 --", "k1\u0000", "ключ"):
        assert verify(token(header={"kid": odd})) == MissingKey(KEYS["customer"], odd)


def test_an_issuer_without_keys_is_unavailable_and_not_the_tokens_fault() -> None:
    assert reason(verify(token(), facts(key_sets={}))) is Reason.ISSUER_UNAVAILABLE


@pytest.mark.parametrize(("until", "good"), [(NOW, True), (NOW - 1, False)])
def test_keys_that_are_too_old_verify_nothing(until: float, good: bool) -> None:
    stale = key_set(rsa_jwk(rsa_key("customer")), usable_until=until)
    found = verify(token(), facts(key_sets={"customer": stale}))
    assert isinstance(found, VerifiedToken) is good
    assert good or reason(found) is Reason.ISSUER_UNAVAILABLE


@pytest.mark.attack("A17")
@pytest.mark.parametrize(
    ("revocations", "good"),
    [
        (Revocations(frozenset({(ISSUER, "t-1")})), False),
        (Revocations(frozenset({(ADMIN_ISSUER, "t-1"), (ISSUER, "t-2")})), True),
        (Revocations(subjects={(ISSUER, "user_1"): NOW - 60}), False),
        (Revocations(subjects={(ISSUER, "user_1"): NOW - 61}), True),
        (Revocations(subjects={(ADMIN_ISSUER, "user_1"): NOW}), True),
    ],
)
def test_a_revoked_token_is_refused_by_its_id_or_by_its_subject_and_age(revocations: Revocations, good: bool) -> None:
    found = verify(token(), facts(revocations=revocations))
    assert isinstance(found, VerifiedToken) is good
    assert good or reason(found) is Reason.TOKEN_INVALID


def test_while_nobody_knows_what_is_revoked_a_good_token_waits_and_others_hear_what_is_wrong() -> None:
    unknown = facts(revocations=None)
    assert reason(verify(token(), unknown)) is Reason.CREDENTIALS_UNAVAILABLE
    assert reason(verify(token(exp=NOW - 60, iat=NOW - 120), unknown)) is Reason.TOKEN_EXPIRED
    assert reason(verify(token(aud="https://elsewhere"), unknown)) is Reason.TOKEN_INVALID
    remembered = verify(token())
    assert isinstance(remembered, VerifiedToken)
    assert not still_holds(remembered, unknown, NOW)


def test_a_signature_that_is_altered_in_any_letter_is_refused() -> None:
    head, payload, signature = token().split(".")
    for at in (0, 1, len(signature) // 2, len(signature) - 1):
        other = "A" if signature[at] != "A" else "B"
        text = f"{head}.{payload}.{signature[:at]}{other}{signature[at + 1 :]}"
        assert reason(verify(text)) is Reason.TOKEN_INVALID


def test_a_payload_is_not_believed_under_another_tokens_signature() -> None:
    head, _, signature = token().split(".")
    forged = b64(json.dumps(claims(role="admin")).encode())
    assert reason(verify(f"{head}.{forged}.{signature}")) is Reason.TOKEN_INVALID


def test_the_signature_covers_the_header() -> None:
    _, payload, _ = token().split(".")
    head = b64(json.dumps({"alg": "RS256", "kid": "k1"}).encode())
    signature = b64(sign_rs256(f"{head}.{payload}".encode()))
    other = b64(json.dumps({"alg": "RS256", "kid": "k1", "typ": "JWT"}).encode())
    assert isinstance(verify(f"{head}.{payload}.{signature}"), VerifiedToken)
    assert reason(verify(f"{other}.{payload}.{signature}")) is Reason.TOKEN_INVALID
