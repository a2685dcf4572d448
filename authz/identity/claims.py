"""The claims of an access token: which must be there, of which type, and when they hold (R86-R91, RFC 9068 §2.2)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

# Visible ASCII: what goes into headers and counters can neither end a line nor hide.
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_WORD: Final = re.compile(r"[\x21-\x7e]{1,64}")
_JTI: Final = re.compile(r"[\x21-\x7e]{1,128}")
# RFC 6749 §3.3, scope-token.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
_MAX_SCOPES: Final = 100
_MAX_AUDIENCES: Final = 32
# One for all: a hundred thousand tokens are remembered, most of them by policies without rules about claims.
NO_CLAIMS: Final[Mapping[str, JsonValue]] = MappingProxyType({})
# Past the year 9999 nothing is a date, and milliseconds are not seconds.
_LAST_SECOND: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """What is checked of one issuer's tokens. Times in seconds; `keys` names its keys among the facts."""

    name: str
    keys: str
    issuer: str
    audience: str
    algorithm: str
    token_type: str | None
    max_lifetime: int
    leeway: int
    # Its tokens are made by hand, for when another issuer is down.
    break_glass: bool = False
    # Claims that business rules read, beside those that every token has.
    declared: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Claims:
    """A token's claims, typed. `tier` is empty where the token states none that could be one."""

    subject: str
    role: str
    tier: str
    scopes: frozenset[str]
    tenant: str
    jti: str
    issued_at: float
    expires_at: float
    declared: Mapping[str, JsonValue] = field(default_factory=lambda: NO_CLAIMS)


def _text(payload: Mapping[str, JsonValue], name: str, form: re.Pattern[str]) -> str | None:
    value = payload.get(name)
    return value if isinstance(value, str) and form.fullmatch(value) else None


def _time(payload: Mapping[str, JsonValue], name: str) -> float | None:
    value = payload.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LAST_SECOND:
        return None
    return value


def _admits_audience(payload: Mapping[str, JsonValue], audience: str) -> bool:
    value = payload.get("aud")
    if isinstance(value, str):
        return value == audience
    return isinstance(value, list) and len(value) <= _MAX_AUDIENCES and audience in value


def _scopes(payload: Mapping[str, JsonValue]) -> frozenset[str] | None:
    value = payload.get("scopes")
    if not isinstance(value, list) or len(value) > _MAX_SCOPES:
        return None
    scopes = frozenset(each for each in value if isinstance(each, str) and _SCOPE.fullmatch(each))
    return scopes if all(isinstance(each, str) and each in scopes for each in value) else None


def read_claims(payload: Mapping[str, JsonValue], rules: IssuerRules) -> Claims | str:
    """The claims without regard to the time, or the cause why they are not a good token's.

    An odd or absent tier is left to the tier check, which answers 403 (attack A13); all else here is 401.
    """
    if payload.get("iss") != rules.issuer:
        return "iss"
    if not _admits_audience(payload, rules.audience):
        return "aud"
    subject = _text(payload, "sub", _SUBJECT)
    role = _text(payload, "role", _WORD)
    scopes = _scopes(payload)
    tenant = _text(payload, "tenant_id", _TENANT) if "tenant_id" in payload else ""
    jti = _text(payload, "jti", _JTI) if "jti" in payload else ""
    issued_at, expires_at = _time(payload, "iat"), _time(payload, "exp")
    if subject is None:
        return "sub"
    if role is None:
        return "role"
    if scopes is None:
        return "scopes"
    if tenant is None:
        return "tenant_id"
    if jti is None:
        return "jti"
    if issued_at is None:
        return "iat"
    if expires_at is None:
        return "exp"
    tier = _text(payload, "tier", _WORD) or ""
    declared = {name: payload[name] for name in rules.declared if name in payload} if rules.declared else NO_CLAIMS
    return Claims(subject, role, tier, scopes, tenant, jti, issued_at, expires_at, declared)


def check_times(payload: Mapping[str, JsonValue], claims: Claims, rules: IssuerRules, now: float) -> str | None:
    """The cause why the token does not hold now; `expired` only when nothing else is wrong with it."""
    if claims.issued_at > now + rules.leeway:
        return "iat in the future"
    if "nbf" in payload:
        not_before = _time(payload, "nbf")
        if not_before is None or not_before > now + rules.leeway:
            return "nbf"
    lifetime = claims.expires_at - claims.issued_at
    if not 0 < lifetime <= rules.max_lifetime + rules.leeway:
        return "lifetime"
    return EXPIRED if now >= claims.expires_at + rules.leeway else None


EXPIRED: Final = "expired"
