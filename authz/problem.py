"""A refusal as the client sees it: problem+json (RFC 9457) and the headers that go with its status.

Everything here comes from policy and from the table of reasons; of the request only its id is repeated, and only
where it has the form of one (attack A42).
"""

import re
from typing import Final

import orjson

from authz.decision import Decision, Refusal
from authz.identity.hmac_signature import ALGORITHM, MANDATORY, TAG
from authz.principal import Kind
from authz.reasons import Reason
from authz.rules import RouteRules

CONTENT_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "https://waooaw.ai/problems/"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_COMPONENTS: Final = " ".join(f'"{name}"' for name in MANDATORY)
# RFC 9421 §5.1: what a signature must cover and state.
_ACCEPT_SIGNATURE: Final = f'sig1=({_COMPONENTS});created;nonce;keyid;alg="{ALGORITHM}";tag="{TAG}"'
_SIGNATURE_REASONS: Final = frozenset({Reason.SIGNATURE_MISSING, Reason.SIGNATURE_INVALID, Reason.SIGNATURE_REPLAYED})


def problem_body(refusal: Refusal, request_id: str) -> str:
    """The JSON text. `errors` is there only where a body has any."""
    problem: dict[str, object] = {
        "type": TYPE_PREFIX + refusal.code,
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.sentence,
        "code": refusal.code,
        "request_id": request_id if _REQUEST_ID.fullmatch(request_id) else "",
    }
    if refusal.errors:
        problem["errors"] = [{"pointer": each.pointer, "rule": each.rule} for each in refusal.errors]
    return orjson.dumps(problem).decode()


def problem_headers(decision: Decision, refusal: Refusal) -> list[tuple[str, str]]:
    headers = [("content-type", CONTENT_TYPE), ("cache-control", "no-store"), *refusal.headers]
    if refusal.allow:
        headers.append(("allow", refusal.allow))
    if refusal.retry_after:
        headers.append(("retry-after", str(refusal.retry_after)))
    challenge = _challenge(decision, refusal)
    if challenge:
        headers.append(("www-authenticate", challenge))
    if refusal.reason in _SIGNATURE_REASONS:
        headers.append(("accept-signature", _ACCEPT_SIGNATURE))
    return headers


def _challenge(decision: Decision, refusal: Refusal) -> str:
    """WWW-Authenticate (RFC 6750 §3, RFC 9110 §11.6.1); empty where none belongs."""
    route = decision.route
    if route is None:
        return ""
    realm = f'realm="{route.gateway}"'
    match refusal.reason:
        case Reason.TOKEN_MISSING:
            # Without credentials there is no error to name.
            return ", ".join(f"{scheme} {realm}" for scheme in _schemes(route))
        case Reason.TOKEN_INVALID:
            return f'Bearer {realm}, error="invalid_token", error_description="The access token is not valid"'
        case Reason.TOKEN_EXPIRED:
            return f'Bearer {realm}, error="invalid_token", error_description="The access token expired"'
        case Reason.INSUFFICIENT_SCOPE if decision.principal.kind is Kind.TOKEN:
            return f'Bearer {realm}, error="insufficient_scope", scope="{refusal.scope}"'
        case Reason.KEY_MISSING | Reason.KEY_INVALID:
            return f"ApiKey {realm}"
        case reason if reason in _SIGNATURE_REASONS:
            return f"Signature {realm}"
        case _:
            return ""


def _schemes(route: RouteRules) -> list[str]:
    return ["Bearer", "ApiKey"] if route.callers.partners else ["Bearer"]
