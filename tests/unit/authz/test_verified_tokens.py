"""A remembered token changes no decision: it ends when the token, its key or its standing does (attack A18)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.decision import Refusal
from authz.facts import Revocations
from authz.identity.jwt import VerifiedToken, digest, verify_token
from authz.identity.verified_tokens import VerifiedTokens
from authz.reasons import Reason
from tests.unit.authz.test_jwt import CUSTOMER
from tests.unit.authz.world import ISSUER, NOW, facts, key_set, rsa_jwk, rsa_key, token

TOKEN = token()


def verified(text: str) -> VerifiedToken:
    found = verify_token(text, {ISSUER: CUSTOMER}, facts(), NOW)
    assert isinstance(found, VerifiedToken)
    return found


def remembered(tokens: VerifiedTokens, text: str) -> VerifiedToken:
    found = verified(text)
    tokens.remember(digest(text), found, len(text), NOW)
    return found


@pytest.mark.attack("A18")
def test_a_token_is_found_again_by_all_of_it_and_only_so() -> None:
    tokens = VerifiedTokens()
    text = token()
    found = remembered(tokens, text)
    assert tokens.find(digest(text), facts(), NOW) is found
    assert tokens.find(digest(text[:-1]), facts(), NOW) is None


@pytest.mark.attack("A18")
def test_it_ends_with_its_time_to_live_and_never_after_the_tokens_own_end() -> None:
    tokens = VerifiedTokens(ttl=100)
    for text, last in ((token(), NOW + 99), (token(exp=NOW + 50), NOW + 49)):
        remembered(tokens, text)
        assert tokens.find(digest(text), facts(), last) is not None
        assert tokens.find(digest(text), facts(), last + 1) is None
        assert tokens.find(digest(text), facts(), NOW) is None


def test_a_token_that_lives_on_its_leeway_is_not_remembered() -> None:
    tokens = VerifiedTokens()
    remembered(tokens, token(exp=NOW - 1))
    assert len(tokens) == 0


@pytest.mark.attack("A16", "A18")
def test_it_ends_when_its_key_is_gone_replaced_or_too_old() -> None:
    for sets in (
        {},
        {"customer": key_set(rsa_jwk(rsa_key("customer"), "k2"))},
        {"customer": key_set(rsa_jwk(rsa_key("other")))},
        {"customer": key_set(rsa_jwk(rsa_key("customer")), usable_until=NOW - 1)},
    ):
        tokens = VerifiedTokens()
        text = token()
        remembered(tokens, text)
        assert tokens.find(digest(text), facts(key_sets=sets), NOW) is None


def test_it_survives_a_refresh_that_brings_the_same_key() -> None:
    tokens = VerifiedTokens()
    text = token()
    remembered(tokens, text)
    fresh = facts(key_sets={"customer": key_set(rsa_jwk(rsa_key("customer")), rsa_jwk(rsa_key("other"), "k2"))})
    assert tokens.find(digest(text), fresh, NOW) is not None


@pytest.mark.attack("A17", "A18")
def test_it_ends_when_the_token_is_revoked() -> None:
    tokens = VerifiedTokens()
    text = token()
    remembered(tokens, text)
    assert tokens.find(digest(text), facts(revocations=Revocations(frozenset({(ISSUER, "t-1")}))), NOW) is None


def test_the_memory_is_bounded_and_the_oldest_goes_first() -> None:
    tokens = VerifiedTokens(capacity=2)
    texts = [token(jti=f"t-{n}") for n in range(3)]
    for text in texts:
        remembered(tokens, text)
    assert len(tokens) == 2
    assert tokens.find(digest(texts[0]), facts(), NOW) is None
    assert tokens.find(digest(texts[2]), facts(), NOW) is not None


def test_the_memory_is_bounded_in_octets_too() -> None:
    tokens = VerifiedTokens(octets=1000)
    found = verified(token())
    for number in range(5):
        tokens.remember(bytes([number]), found, 400, NOW)
    assert (len(tokens), tokens.octets) == (2, 800)
    tokens.remember(b"long", found, 1001, NOW)
    assert len(tokens) == 2
    tokens.remember(b"all", found, 1000, NOW)
    assert (len(tokens), tokens.octets) == (1, 1000)
    assert tokens.find(b"all", facts(), NOW) is found


def test_what_has_ended_goes_when_others_come() -> None:
    tokens = VerifiedTokens(ttl=10)
    found = verified(token())
    for number in range(5):
        tokens.remember(bytes([number]), found, 100, NOW)
    tokens.remember(b"later", found, 100, NOW + 10)
    assert (len(tokens), tokens.octets) == (1, 100)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from([100, 250]), st.booleans()), max_size=60)
)
def test_neither_bound_is_ever_passed_and_the_count_is_right(steps: list[tuple[int, int, int, bool]]) -> None:
    tokens, now = VerifiedTokens(capacity=4, octets=700, ttl=5), NOW
    found, gone = verified(TOKEN), facts(revocations=Revocations(frozenset({(ISSUER, "t-1")})))
    held: dict[bytes, int] = {}
    for number, later, octets, is_revoked in steps:
        now += later
        key = bytes([number])
        if is_revoked:
            assert tokens.find(key, gone, now) is None
            held.pop(key, None)
        else:
            tokens.remember(key, found, octets, now)
            held[key] = octets
            assert tokens.find(key, facts(), now) is found
        # What was dropped meanwhile is found out by asking; nothing is found that was not put there.
        held = {key: size for key, size in held.items() if key in tokens._entries}
        assert (len(tokens), tokens.octets) == (len(held), sum(held.values()))
        assert len(tokens) <= 4
        assert tokens.octets <= 700
        assert len(tokens._order) <= 8
    tokens.clear()
    assert (len(tokens), tokens.octets) == (0, 0)


def test_keys_that_an_issuer_of_the_same_name_has_under_another_policy_verify_nothing() -> None:
    # The name is the policy's, and the next policy may mean somebody else by it.
    moved = replace(CUSTOMER, issuer="https://new.example.com", keys="customer#moved")
    found = verify_token(token(iss=moved.issuer), {moved.issuer: moved}, facts(), NOW)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.ISSUER_UNAVAILABLE
    tokens = VerifiedTokens()
    tokens.remember(b"digest", replace(verified(token()), keys=moved.keys), 700, NOW)
    assert tokens.find(b"digest", facts(), NOW) is None
