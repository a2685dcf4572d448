"""Partner API keys (R93-R97): one header, one look-up by SHA-256, one answer for every key that is not live."""

import hashlib
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from authz.decision import Refusal
from authz.facts import Facts
from authz.principal import Kind, Principal
from authz.reasons import Reason

HEADER: Final = "x-api-key"
PREFIX: Final = "waw_live_sk_"
ROLE: Final = "partner"
# 20 base62 characters are 119 bits; the document's 28-character example ends in 16 hexadecimal ones (C13).
_FORM: Final = re.compile(rf"{PREFIX}(?:[0-9A-Za-z]{{20}}|[0-9a-f]{{16}})")


def verify_key(text: str, address: IPv4Address | IPv6Address | None, facts: Facts, now: float) -> Principal | Refusal:
    """Whose key this is. Unknown, revoked, expired and ill-formed keys are answered alike."""
    if not _FORM.fullmatch(text):
        return Refusal(Reason.KEY_INVALID, "form")
    if facts.partner_keys is None or now > facts.partner_keys.usable_until:
        return Refusal(Reason.CREDENTIALS_UNAVAILABLE, "partner keys not loaded")
    # No salt is needed, and so one look-up suffices: nobody enumerates 119 random bits (attack A60).
    key = facts.partner_keys.by_digest.get(hashlib.sha256(text.encode("ascii")).digest())
    if key is None:
        return Refusal(Reason.KEY_INVALID, "unknown")
    if now >= key.expires_at:
        return Refusal(Reason.KEY_INVALID, "expired")
    if key.networks is not None and not (address and any(address in network for network in key.networks)):
        return Refusal(Reason.ADDRESS_NOT_ALLOWED, f"not an address of partner {key.partner}")
    return _principal(key.partner, key.tier, key.scopes, key.key_id)


# Only of keys that are live, so nobody without one can push others out. One principal, one answer (authz.answers).
@lru_cache(maxsize=4096)
def _principal(partner: str, tier: str, scopes: frozenset[str], key_id: str) -> Principal:
    return Principal(
        Kind.KEY,
        subject=f"{ROLE}:{partner}",
        role=ROLE,
        tier=tier,
        scopes=scopes,
        partner=partner,
        credential_id=key_id,
    )
