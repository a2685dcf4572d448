"""Partner keys: one form, one look-up, one answer for all that are not live (attacks A55 to A60)."""

import hashlib
import random
import string
import zlib
from ipaddress import ip_address, ip_network

import pytest

from authz.decision import Refusal
from authz.facts import Facts, PartnerKey, PartnerKeys
from authz.identity.api_key import verify_key
from authz.principal import Principal
from authz.reasons import Reason
from tests.unit.authz.world import API_KEY, NOW, facts, partner_key

HERE = ip_address("192.0.2.7")


def known(key: PartnerKey, text: str = API_KEY) -> Facts:
    return facts(partner_keys=PartnerKeys({hashlib.sha256(text.encode()).digest(): key}))


@pytest.mark.requirement("R14", "R93", "R94")
@pytest.mark.parametrize("text", [API_KEY, "waw_live_sk_0123456789abcdef"])
def test_a_live_key_says_which_partner_calls(text: str) -> None:
    found = verify_key(text, HERE, known(partner_key(), text), NOW)
    assert isinstance(found, Principal)
    assert (found.partner, found.role, found.tier) == ("acme", "partner", "business")
    assert found.caller == "partner:acme"
    assert text not in repr(found)


@pytest.mark.requirement("R14", "R93", "R95", "R106")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("waw_live_sk_" + "A" * 20, partner_key()),
        (API_KEY[:-1], partner_key()),
        (API_KEY + "A", partner_key()),
        (API_KEY + "\n", partner_key()),
        (" " + API_KEY, partner_key()),
        (API_KEY.replace("live", "test"), partner_key()),
        (API_KEY.lower(), partner_key()),
        (f"{API_KEY},{API_KEY}", partner_key()),
        ("waw_live_sk_" + "é" * 20, partner_key()),
        ("", partner_key()),
        ("x" * 100_000, partner_key()),
        (API_KEY, partner_key(expires_at=NOW)),
        (API_KEY, partner_key(expires_at=NOW - 1)),
    ],
)
def test_unknown_misspelt_and_expired_keys_get_one_answer(text: str, key: PartnerKey) -> None:
    found = verify_key(text, HERE, known(key), NOW)
    assert isinstance(found, Refusal)
    assert (found.reason, found.detail, found.errors) == (Reason.KEY_INVALID, "", ())
    assert text not in found.cause or not text


@pytest.mark.requirement("R13")
@pytest.mark.parametrize(
    ("networks", "address", "admitted"),
    [
        (None, HERE, True),
        (None, None, True),
        ((), HERE, False),
        ((ip_network("192.0.2.0/24"),), HERE, True),
        ((ip_network("198.51.100.0/24"),), HERE, False),
        ((ip_network("192.0.2.0/24"),), None, False),
        ((ip_network("2001:db8::/32"), ip_network("192.0.2.7/32")), HERE, True),
    ],
)
def test_a_key_that_is_bound_to_networks_opens_nothing_from_elsewhere(
    networks: tuple[object, ...] | None, address: object, admitted: bool
) -> None:
    found = verify_key(API_KEY, address, known(partner_key(networks=networks)), NOW)  # type: ignore[arg-type]
    assert isinstance(found, Principal) is admitted
    if isinstance(found, Refusal):
        assert found.reason is Reason.ADDRESS_NOT_ALLOWED


@pytest.mark.parametrize("keys", [None, PartnerKeys({}, usable_until=NOW - 1)])
def test_keys_that_were_never_loaded_or_too_long_ago_admit_nobody(keys: PartnerKeys | None) -> None:
    found = verify_key(API_KEY, HERE, facts(partner_keys=keys), NOW)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.CREDENTIALS_UNAVAILABLE


@pytest.mark.attack("A60")
@pytest.mark.requirement("R94")
def test_keys_whose_short_hashes_collide_are_two_keys() -> None:
    # A hash of 32 bits takes so many random keys to collide; Tyk's look-up is by one.
    numbers = random.Random(1)
    seen: dict[int, str] = {}
    pairs: list[tuple[str, str]] = []
    while len(pairs) < 3:
        text = "waw_live_sk_" + "".join(numbers.choices(string.ascii_letters + string.digits, k=20))
        other = seen.setdefault(zlib.crc32(text.encode()), text)
        if other != text:
            pairs.append((other, text))
    for one, other in pairs:
        digests = [hashlib.sha256(text.encode()).digest() for text in (one, other)]
        keys = {digests[0]: partner_key(), digests[1]: partner_key(partner="beta", key_id="key-2")}
        both = facts(partner_keys=PartnerKeys(keys))
        found = [verify_key(text, HERE, both, NOW) for text in (one, other)]
        assert [each.partner for each in found if isinstance(each, Principal)] == ["acme", "beta"]
        alone = facts(partner_keys=PartnerKeys({digests[0]: partner_key()}))
        assert isinstance(verify_key(other, HERE, alone, NOW), Refusal)
