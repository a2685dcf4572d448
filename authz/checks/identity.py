"""Which credential is shown, and whose it is. Public routes ask nobody."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_plus

from authz.case import Case
from authz.decision import MissingKey, Refusal
from authz.identity import api_key, hmac_signature, jwt
from authz.reasons import Reason
from authz.request import Request
from authz.rules import CallerRules

_AUTHORIZATION: Final = "authorization"
_CREDENTIAL_PARAMETERS: Final = frozenset(
    {"access_token", "api_key", "api-key", "apikey", "id_token", "refresh_token", "x-api-key"}
)


def check_identity(case: Case) -> Refusal | None:
    if _has_credentials_in_url(case.request):
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
    return _check_signature(case) if signed else Refusal(_what_is_missing(callers))


def _has_credentials_in_url(request: Request) -> bool:
    if api_key.PREFIX in request.path or api_key.PREFIX in unquote_plus(request.path):
        return True
    if not request.query:
        return False
    if api_key.PREFIX in unquote_plus(request.query):
        return True
    names = (pair.partition("=")[0] for pair in request.query.replace(";", "&").split("&"))
    return any(unquote_plus(name).lower() in _CREDENTIAL_PARAMETERS for name in names)


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
        case.rules.verified.remember(digest, verified, case.now)
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
