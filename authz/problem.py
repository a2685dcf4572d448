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
from authz.reasons import ANSWERS, Reason
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
    return problem_start(refusal.reason, refusal.code, refusal.sentence) + problem_end(refusal, request_id)


def problem_start(reason: Reason, code: str, sentence: str) -> str:
    """As much of the body as all refusals of a kind have in common: up to the text of the request's id."""
    answer = ANSWERS[reason]
    members = {
        "type": TYPE_PREFIX + code,
        "title": answer.title,
        "status": answer.status,
        "detail": sentence,
        "code": code,
        "request_id": "",
    }
    return orjson.dumps(members).decode().removesuffix('"}')


def problem_end(refusal: Refusal, request_id: str) -> str:
    # What has the form of an id has nothing in it that JSON escapes.
    known = request_id if _REQUEST_ID.fullmatch(request_id) else ""
    if not refusal.errors:
        return f'{known}"}}'
    errors = [{"pointer": each.pointer, "rule": each.rule} for each in refusal.errors]
    return f'{known}","errors":{orjson.dumps(errors).decode()}}}'


def problem_headers(decision: Decision, refusal: Refusal) -> list[tuple[str, str]]:
    is_token = decision.principal.kind is Kind.TOKEN
    fixed = fixed_headers(decision.route, refusal.reason, refusal.allow, refusal.scope, is_token)
    return [*fixed, *own_headers(decision, refusal)]


def fixed_headers(
    route: RouteRules | None, reason: Reason, allow: str, scope: str, is_token: bool
) -> list[tuple[str, str]]:
    """The headers that are the same for all refusals of a route for this reason. `is_token`: by what they came."""
    headers = [("content-type", CONTENT_TYPE), ("cache-control", "no-store")]
    if allow:
        headers.append(("allow", allow))
    challenge = "" if route is None else _challenge(route, reason, scope, is_token)
    if challenge:
        headers.append(("www-authenticate", challenge))
    if reason in _SIGNATURE_REASONS:
        headers.append(("accept-signature", _ACCEPT_SIGNATURE))
    return headers


def own_headers(decision: Decision, refusal: Refusal) -> list[tuple[str, str]]:
    """The headers that another refusal of the same kind may have with other values."""
    headers = [*decision.told]
    if refusal.retry_after:
        headers.append(("retry-after", str(refusal.retry_after)))
    return headers


def _challenge(route: RouteRules, reason: Reason, scope: str, is_token: bool) -> str:
    """WWW-Authenticate (RFC 6750 §3, RFC 9110 §11.6.1); empty where none belongs."""
    realm = f'realm="{route.gateway}"'
    match reason:
        case Reason.TOKEN_MISSING:
            # Without credentials there is no error to name.
            return ", ".join(f"{scheme} {realm}" for scheme in _schemes(route))
        case Reason.TOKEN_INVALID:
            return f'Bearer {realm}, error="invalid_token", error_description="The access token is not valid"'
        case Reason.TOKEN_EXPIRED:
            return f'Bearer {realm}, error="invalid_token", error_description="The access token expired"'
        case Reason.INSUFFICIENT_SCOPE if is_token:
            return f'Bearer {realm}, error="insufficient_scope", scope="{scope}"'
        case Reason.KEY_MISSING | Reason.KEY_INVALID:
            return f"ApiKey {realm}"
        case _ if reason in _SIGNATURE_REASONS:
            return f"Signature {realm}"
        case _:
            return ""


def _schemes(route: RouteRules) -> list[str]:
    return ["Bearer", "ApiKey"] if route.callers.partners else ["Bearer"]
