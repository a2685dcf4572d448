"""A gateway that remembers decides as one that verifies every credential anew, whatever changes in between."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.answers import Answers
from authz.facts import Facts, PartnerKeys, Revocations
from authz.identity.keys import KeySet
from authz.identity.verified_tokens import VerifiedTokens
from authz.pipeline import decide
from authz.request import Request
from authz.rules import compile_rules
from tests.unit.authz.world import (
    API_KEY,
    ISSUER,
    KEYS,
    NOW,
    facts,
    key_set,
    partner_key,
    policy,
    request,
    rsa_jwk,
    rsa_key,
    token,
)

OTHER_KEY = "waw_live_sk_" + "b" * 20
DIGEST, OTHER_DIGEST = (hashlib.sha256(text.encode()).digest() for text in (API_KEY, OTHER_KEY))
REMEMBERING = compile_rules(policy(), VerifiedTokens())
ANEW = compile_rules(policy(), VerifiedTokens(ttl=0))
ASKED: Mapping[str, Request] = {
    "an hour": request("plain", token=token(iat=NOW, exp=NOW + 3600, jti="one")),
    "two minutes": request("plain", token=token(iat=NOW, exp=NOW + 120, jti="two")),
    "not before": request("plain", token=token(iat=NOW, nbf=NOW + 100, exp=NOW + 900, jti="three")),
    "another tenant": request("plain", token=token(iat=NOW, exp=NOW + 900, tenant_id="globex", jti="four")),
    "another subject": request("plain", token=token(iat=NOW, exp=NOW + 900, sub="user_9", tier="free", jti="five")),
    "a key": request("plain", key=API_KEY),
    "another key": request("plain", key=OTHER_KEY),
    "another key from elsewhere": request("plain", key=OTHER_KEY, address="203.0.113.9"),
}
GOOD = key_set(rsa_jwk(rsa_key("customer")))
SETS: Mapping[str, KeySet | None] = {
    "the same": GOOD,
    "read again": key_set(rsa_jwk(rsa_key("customer"))),
    "another key": key_set(rsa_jwk(rsa_key("other"))),
    "renamed": key_set(rsa_jwk(rsa_key("customer")), rsa_jwk(rsa_key("other"), "k2")),
    "too old in a minute": replace(GOOD, usable_until=NOW + 60),
    "gone": None,
}
REVOKED = {
    "none": Revocations(),
    "one": Revocations(tokens=frozenset({(ISSUER, "one"), (ISSUER, "four")})),
    "another issuer's": Revocations(tokens=frozenset({("https://other.example.com", "one")})),
    "of a subject": Revocations(subjects={(ISSUER, "user_9"): NOW}),
    "of a subject before": Revocations(subjects={(ISSUER, "user_9"): NOW - 1}),
    "unknown": None,
}
HELD = {
    "both": PartnerKeys({DIGEST: partner_key(), OTHER_DIGEST: partner_key(partner="beta", key_id="key-2")}),
    "one": PartnerKeys({DIGEST: partner_key()}),
    "changed": PartnerKeys(
        {DIGEST: partner_key(tier="free"), OTHER_DIGEST: partner_key(partner="acme", tier="enterprise")}
    ),
    "ended": PartnerKeys({DIGEST: partner_key(expires_at=NOW + 30)}),
    "unconfirmed": PartnerKeys({DIGEST: partner_key()}, usable_until=NOW + 20),
    "unknown": None,
}


def known(keys: str, revoked: str, held: str) -> Facts:
    key_sets = {KEYS["customer"]: found} if (found := SETS[keys]) is not None else {}
    return replace(facts(), key_sets=key_sets, revocations=REVOKED[revoked], partner_keys=HELD[held])


STEPS = st.lists(
    st.tuples(
        st.floats(0, 400),
        st.sampled_from(list(SETS)),
        st.sampled_from(list(REVOKED)),
        st.sampled_from(list(HELD)),
        st.lists(st.sampled_from(list(ASKED)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_what_is_remembered_is_decided_and_answered_as_if_it_were_not(
    steps: list[tuple[float, str, str, str, list[str]]],
) -> None:
    remembering = replace(REMEMBERING, verified=VerifiedTokens(capacity=3))
    now, answers = NOW, Answers()
    for passed, keys, revoked, held, names in steps:
        now += passed
        for name in names:
            asked, at_hand = ASKED[name], known(keys, revoked, held)
            one, other = decide(asked, remembering, at_hand, now), decide(asked, ANEW, at_hand, now)
            assert one.refusal == other.refusal
            assert one.missing_key == other.missing_key
            assert one.principal.identity == other.principal.identity
            assert one.principal.caller == other.principal.caller
            # What is kept of answers is one caller's, too.
            assert answers.write(one, asked) == Answers().write(other, asked)
