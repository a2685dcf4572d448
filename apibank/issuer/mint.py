"""Signing access tokens (RFC 9068), with the claims that the gateways read (R86), or with any others."""

import json
import time
import uuid
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import jwt

from apibank.issuer.keys import ALGORITHM, KeyStore, SigningKey
from apibank.issuer.realms import ACCESS_TOKEN_SECONDS, CLAIMS_OF_ROLE, REALMS, SCOPES_OF_ROLE, Realm

_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - RFC 9068 §2.1


class UnknownIssuerError(Exception):
    """There is no issuer of that name."""


def mint(
    state_dir: Path,
    issuer: str,
    *,
    claims: Mapping[str, object] | None = None,
    without: Collection[str] = (),
    expires_in: int = ACCESS_TOKEN_SECONDS,
    headers: Mapping[str, object] | None = None,
    next_key: bool = False,
    now: float | None = None,
) -> str:
    """A signed token of the development issuer `issuer`, customer or admin. Nothing is validated.

    The claims are a good token's of that issuer; `claims` overrides or adds any, with any JSON, and `without` leaves
    claims out. `expires_in` is in seconds from now and may be negative. `headers` are JOSE headers likewise. The key
    is the one that signs now, or with `next_key` the one that is published ahead of its turn. Raises
    UnknownIssuerError, and FileNotFoundError where no issuer has made its keys in the state directory.
    """
    realm = REALMS.get(issuer)
    if realm is None:
        raise UnknownIssuerError(f"there is no issuer {issuer!r}: customer or admin")
    given = claims or {}
    merged = {**_good_claims(realm, given), **lifetime(time.time() if now is None else now, expires_in), **given}
    kept = {name: value for name, value in merged.items() if name not in without}
    ring = _store(state_dir.resolve(), issuer).load()
    return sign(ring.next if next_key else ring.current, kept, headers)


def sign(key: SigningKey, claims: Mapping[str, object], headers: Mapping[str, object] | None = None) -> str:
    """The claims, as they are, in a JWS."""
    payload = json.dumps(claims, separators=(",", ":")).encode()
    header = {"typ": _TOKEN_TYPE, "kid": key.kid, **(headers or {})}
    # PyJWS, since PyJWT refuses claims that RFC 7519 does not allow; tests need those most.
    return jwt.PyJWS().encode(payload, key.private, ALGORITHM, header)


def lifetime(now: float, seconds: int) -> dict[str, object]:
    """`iat`, `exp`, and a `jti` of its own for each token. One that has expired was issued before it did."""
    expires = int(now) + seconds
    issued = int(now) if seconds > 0 else expires - ACCESS_TOKEN_SECONDS
    return {"iat": issued, "exp": expires, "jti": str(uuid.uuid4())}


def _good_claims(realm: Realm, given: Mapping[str, object]) -> dict[str, object]:
    person = realm.people[0]
    role = given.get("role", person.role)
    return {
        "iss": realm.issuer,
        "aud": realm.audience,
        "sub": person.subject,
        "email": person.email,
        "role": person.role,
        "tier": person.tier,
        # No tenant: callers that differ in `sub` alone must not share a counter (C14).
        "scopes": list(SCOPES_OF_ROLE.get(role, person.scopes) if isinstance(role, str) else person.scopes),
        **(CLAIMS_OF_ROLE.get(role, {}) if isinstance(role, str) else {}),
    }


@cache
def _store(state_dir: Path, issuer: str) -> KeyStore:
    return KeyStore(state_dir, issuer)
