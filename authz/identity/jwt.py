"""Access tokens: JWS in compact form (RFC 7515), verified as RFC 8725 and RFC 9068 §4 demand.

The order is that of cost and of trust: size, shape, header, the issuer that the payload names, its one algorithm, its
key, the signature, and only then what the claims say. Whatever fails before the signature and after it is answered
alike, except that a token whose only fault is its age is told so, since its holder is to refresh it (R92).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydantic import JsonValue

from authz.decision import MissingKey, Refusal
from authz.facts import Facts
from authz.identity import base64url
from authz.identity.break_glass import emergency_of
from authz.identity.claims import EXPIRED, Claims, IssuerRules, check_times, read_claims
from authz.identity.keys import MAX_KID, KeySet, VerificationKey
from authz.principal import Kind, Principal
from authz.reasons import Reason
from authz.strict_json import read_json

MAX_TOKEN: Final = 8192
_MAX_HEADER: Final = 1024
# Keys and content that a token brings along are never used, and what would change how it is read is not understood
# here, which RFC 7515 §4.1.11 makes a refusal.
_REFUSED_HEADERS: Final = frozenset(
    {"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "cty", "enc", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c"}
)
_PLAIN_TYPES: Final = frozenset({None, "jwt", "at+jwt"})


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """A good token: whose it is, and everything that must still hold when it is shown again.

    `keys` names its issuer's keys among the facts, `iss` is the issuer's own name.
    """

    principal: Principal
    claims: Claims
    keys: str
    iss: str
    kid: str | None
    key: VerificationKey


@dataclass(frozen=True, slots=True)
class _Header:
    algorithm: str
    kid: str | None
    token_type: str | None


def _refuse(cause: str) -> Refusal:
    return Refusal(Reason.TOKEN_INVALID, cause)


# Tokens of one key have one header: what a few texts say is remembered. Longer ones are refused before this.
@lru_cache(maxsize=256)
def _read_header(segment: bytes) -> _Header | None:
    header = _read_object(segment)
    if header is None or not _REFUSED_HEADERS.isdisjoint(header):
        return None
    algorithm, kid, token_type = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str):
        return None
    if "kid" in header and (not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID):
        return None
    if "typ" in header and not isinstance(token_type, str):
        return None
    # RFC 7515 §4.1.9: media types compare without case, and `application/` may be left out.
    plain = token_type.lower().removeprefix("application/") if isinstance(token_type, str) else None
    return _Header(algorithm, kid if isinstance(kid, str) else None, plain)


def _read_object(segment: bytes) -> Mapping[str, JsonValue] | None:
    octets = base64url.decode(segment)
    value = None if octets is None else read_json(octets)
    return value if isinstance(value, dict) else None


def _type_fits(header: _Header, rules: IssuerRules) -> bool:
    if rules.token_type is None:
        return header.token_type in _PLAIN_TYPES
    return header.token_type == rules.token_type.lower().removeprefix("application/")


def digest(token: str) -> bytes:
    """What a token is remembered by: the hash of all of it, signature included (attack A18)."""
    return hashlib.sha256(token.encode("ascii")).digest()


def verify_token(
    token: str, issuers: Mapping[str, IssuerRules], facts: Facts, now: float
) -> VerifiedToken | Refusal | MissingKey:
    """Whose token this is. `issuers` by their `iss`; `now` in seconds since the epoch. Never raises."""
    if len(token) > MAX_TOKEN or not token.isascii():
        return _refuse("size")
    octets = token.encode("ascii")
    segments = octets.split(b".")
    if len(segments) != 3 or len(segments[0]) > _MAX_HEADER:
        return _refuse("form")
    header, payload, signature = _read_header(segments[0]), _read_object(segments[1]), base64url.decode(segments[2])
    if header is None or payload is None or signature is None:
        return _refuse("form")
    named = payload.get("iss")
    rules = issuers.get(named) if isinstance(named, str) else None
    if rules is None:
        return _refuse("iss")
    if header.algorithm != rules.algorithm:
        return _refuse("alg")
    if not _type_fits(header, rules):
        return _refuse("typ")
    key_set = facts.key_sets.get(rules.keys)
    if key_set is None or now > key_set.usable_until:
        return Refusal(Reason.ISSUER_UNAVAILABLE, f"no usable keys of issuer {rules.name}")
    message = octets[: len(segments[0]) + 1 + len(segments[1])]
    key = _find_signer(key_set, header, rules, signature, message)
    if not isinstance(key, VerificationKey):
        return key
    return _read_verified(payload, header.kid, key, rules, facts, now)


def _find_signer(
    key_set: KeySet, header: _Header, rules: IssuerRules, signature: bytes, message: bytes
) -> VerificationKey | Refusal | MissingKey:
    candidates = key_set.candidates(header.kid)
    if not candidates:
        return _refuse("kid") if header.kid is None else MissingKey(rules.keys, header.kid)
    for key in candidates:
        # The key's own algorithm counts too: keys may have been read under an earlier policy.
        if key.algorithm.value == rules.algorithm and key.verifies(signature, message):
            return key
    return _refuse("signature")


def _read_verified(
    payload: Mapping[str, JsonValue],
    kid: str | None,
    key: VerificationKey,
    rules: IssuerRules,
    facts: Facts,
    now: float,
) -> VerifiedToken | Refusal:
    claims = read_claims(payload, rules)
    if isinstance(claims, str):
        return _refuse(claims)
    revocations = facts.revocations
    if revocations is not None and revocations.covers(rules.issuer, claims.jti, claims.subject, claims.issued_at):
        return _refuse("revoked")
    cause = check_times(payload, claims, rules, now)
    if cause is not None:
        return Refusal(Reason.TOKEN_EXPIRED) if cause == EXPIRED else _refuse(cause)
    if revocations is None and not rules.break_glass:
        # Who breaks the glass does so because much is away; their tokens are few and short.
        return Refusal(Reason.CREDENTIALS_UNAVAILABLE, "revocations not loaded")
    kind, remark = Kind.TOKEN, ""
    if rules.break_glass:
        kind = Kind.BREAK_GLASS
        remark, cause = emergency_of(payload, claims)
        if cause:
            return _refuse(cause)
    principal = Principal(
        kind,
        subject=claims.subject,
        role=claims.role,
        tier=claims.tier,
        scopes=claims.scopes,
        tenant=claims.tenant,
        issuer=rules.name,
        credential_id=claims.jti,
        remark=remark,
        claims=claims.declared,
    )
    return VerifiedToken(principal, claims, rules.keys, rules.issuer, kid, key)


def still_holds(verified: VerifiedToken, facts: Facts, now: float) -> bool:
    """Whether a remembered token may pass without being verified again: its key is still there, it is not revoked."""
    key_set = facts.key_sets.get(verified.keys)
    if key_set is None or now > key_set.usable_until or not key_set.holds(verified.kid, verified.key):
        return False
    claims, revocations = verified.claims, facts.revocations
    return revocations is not None and not revocations.covers(
        verified.iss, claims.jti, claims.subject, claims.issued_at
    )
