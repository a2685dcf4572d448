"""Tokens: nothing raises, nothing is taken without a signature, and what is taken is a good token to any reader.

The first octet says what the rest is: `t` the text of a token, `s` a header and a payload, divided by a NUL, which
are signed as they are with the issuer's secret.
"""

import hmac
import json

from authz.decision import MissingKey
from authz.identity.claims import IssuerRules
from authz.identity.jwt import VerifiedToken, verify_token
from tests.fuzz.again import run_again
from tests.unit.authz.world import AUDIENCE, ISSUER, KEYS, NOW, SYMMETRIC_SECRET, b64, facts, symmetric_keys

RULES = IssuerRules("customer", KEYS["customer"], ISSUER, AUDIENCE, "HS256", None, 3600, 5)
FACTS = facts(key_sets={"customer": symmetric_keys()})
DANGEROUS = {"crit", "b64", "zip", "enc", "jwk", "jku", "x5u", "x5c"}


def judge(octets: bytes) -> None:
    """Raises where a promise is broken."""
    kind, rest = octets[:1], octets[1:]
    if kind == b"t":
        found = verify_token(rest.decode("latin-1"), {ISSUER: RULES}, FACTS, NOW)
        # Nobody guesses a signature of 32 octets.
        assert not isinstance(found, VerifiedToken)
    elif kind == b"s":
        header, _, payload = rest.partition(b"\0")
        text = f"{b64(header)}.{b64(payload)}"
        signature = hmac.digest(SYMMETRIC_SECRET, text.encode(), "sha256")
        found = verify_token(f"{text}.{b64(signature)}", {ISSUER: RULES}, FACTS, NOW)
        if isinstance(found, VerifiedToken):
            _is_good(found, json.loads(header), json.loads(payload))
        else:
            assert isinstance(found, MissingKey) or found.reason


def _is_good(found: VerifiedToken, header: dict[str, object], payload: dict[str, object]) -> None:
    """By another reader, which would let the last of two equal names win."""
    assert header["alg"] == "HS256"
    assert not DANGEROUS & header.keys()
    assert payload["iss"] == ISSUER
    audience = payload["aud"]
    assert audience == AUDIENCE or (isinstance(audience, list) and AUDIENCE in audience)
    issued, expires = payload["iat"], payload["exp"]
    assert isinstance(issued, int | float)
    assert isinstance(expires, int | float)
    assert issued <= NOW + 5
    assert expires + 5 > NOW
    assert expires - issued <= 3605
    principal = found.principal
    assert principal.subject == payload["sub"]
    assert principal.role == payload["role"]
    assert principal.scopes == set(payload["scopes"])  # type: ignore[call-overload]
    assert principal.tier in {"", payload.get("tier")}
    shown = (principal.subject, principal.role, principal.tier, principal.tenant, *principal.scopes)
    assert all(text.isprintable() and text.isascii() and " " not in text for text in shown)


if __name__ == "__main__":
    run_again(judge)
