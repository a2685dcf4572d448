"""Which credential is shown, and whose it is. Public routes ask nobody."""

import re
from collections.abc import Mapping
from typing import Final

from authz.case import Case
from authz.decision import MissingKey, Refusal
from authz.identity import api_key, hmac_signature, jwt
from authz.reasons import Reason
from authz.request import Request
from authz.rules import CallerRules
from policy.modes import Mode

_AUTHORIZATION: Final = "authorization"
# Whoever sends one of these shows a credential, if only one that is not asked for here.
_CREDENTIALS: Final = frozenset(
    {_AUTHORIZATION, api_key.HEADER, hmac_signature.INPUT_HEADER, hmac_signature.SIGNATURE_HEADER}
)
# What a URL holds of a credential: a key or a token in compact form (RFC 7515 §3.1), wherever it stands, or a parameter
# whose name says so, as loosely as servers read names. No repetition gives back what it took, and a token begins only
# where a word does, so the time is linear in the text.
_WORD: Final = "[A-Za-z0-9_-]"
_VALUE: Final = rf"waw_[a-z]++_sk_|(?<!{_WORD})ey{_WORD}{{8,}}+\.{_WORD}{{8,}}+\.{_WORD}"
_NAME: Final = "(?:(?:access|id|refresh)[._ -]?)?token|(?:x[._ -])?api[._ -]?key|authorization|jwt"
_IN_PATH: Final = re.compile(_VALUE, re.IGNORECASE)
_IN_QUERY: Final = re.compile(rf"{_VALUE}|(?:^|[&;]) *+(?:{_NAME})(?=[=&;\[ ]|$)", re.IGNORECASE)
# All of a credential is printable ASCII. Other escapes, and what only looks like one, are none of ours.
_PRINTABLE: Final = {f"%{code:02X}": chr(code) for code in range(0x20, 0x7F)}
_ESCAPE: Final = re.compile("%[2-7][0-9A-Fa-f]")


def check_identity(case: Case) -> Refusal | None:
    if has_credentials_in_url(case.request):
        return Refusal(Reason.CREDENTIALS_IN_URL)
    if case.route.public:
        return None
    callers, headers = case.route.callers, case.request.headers
    # What the route does not admit is not looked at, and so is as good as absent.
    token = _bearer(headers) if callers.roles else None
    key = headers.get(api_key.HEADER) if callers.partners else None
    signed = callers.agents and (hmac_signature.INPUT_HEADER in headers or hmac_signature.SIGNATURE_HEADER in headers)
    if (token is not None) + (key is not None) + signed > 1:
        return Refusal(Reason.CREDENTIALS_AMBIGUOUS)
    if token is not None:
        return _check_token(case, token)
    if key is not None:
        return _check_key(case, key)
    if signed:
        return _check_signature(case)
    if case.route.mode is Mode.OPTIONAL and _CREDENTIALS.isdisjoint(headers):
        case.unknown = True
        return None
    return Refusal(_what_is_missing(callers))


def has_credentials_in_url(request: Request) -> bool:
    """Whether path or query hold what is, or says that it is, a credential."""
    # Both are bounded: check_target has refused what is longer.
    path = _decoded(request.path)
    lowered = path.lower()
    # Hardly any path holds either of the two, and looking for them is cheaper than searching for the pattern.
    if ("ey" in lowered or "waw_" in lowered) and _IN_PATH.search(path):
        return True
    return request.query is not None and _IN_QUERY.search(_decoded(request.query.replace("+", " "))) is not None


def _decoded(text: str) -> str:
    return _ESCAPE.sub(lambda found: _PRINTABLE.get(found[0].upper(), " "), text) if "%" in text else text


def _bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header (RFC 6750 §2.1), or None where the header is absent or of another kind."""
    scheme, _, token = headers.get(_AUTHORIZATION, "").partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def _what_is_missing(callers: CallerRules) -> Reason:
    if callers.roles:
        return Reason.TOKEN_MISSING
    return Reason.KEY_MISSING if callers.partners else Reason.SIGNATURE_MISSING


def _check_token(case: Case, token: str) -> Refusal | None:
    if len(token) > jwt.MAX_TOKEN or not token.isascii():
        return Refusal(Reason.TOKEN_INVALID, "size")
    digest = jwt.digest(token)
    known = case.rules.verified.find(digest, case.facts, case.now)
    if known is None:
        verified = jwt.verify_token(token, case.rules.issuers, case.facts, case.now)
        if isinstance(verified, Refusal):
            return verified
        if isinstance(verified, MissingKey):
            case.missing_key = verified
            return Refusal(Reason.TOKEN_INVALID, "kid")
        case.rules.verified.remember(digest, verified, len(token), case.now)
        known = verified
    case.principal = known.principal
    return None


def _check_key(case: Case, key: str) -> Refusal | None:
    verified = api_key.verify_key(key, case.address, case.facts, case.now)
    if isinstance(verified, Refusal):
        return verified
    case.principal = verified
    return None


def _check_signature(case: Case) -> Refusal | None:
    if case.rules.signatures is None:
        return Refusal(Reason.SIGNATURE_INVALID, "nothing says how agents sign")
    verified = hmac_signature.verify_signature(case.request, case.rules.signatures, case.facts, case.now)
    if isinstance(verified, Refusal):
        return verified
    case.principal, case.claim = verified
    return None
