"""Envoy's messages in, our values out, and back (envoy.service.auth.v3)."""

from collections.abc import Mapping
from typing import Final

from authz.decision import Decision, Refusal
from authz.metrics import ALLOWED
from authz.principal import NOBODY, Kind, Principal
from authz.problem import problem_body, problem_headers
from authz.reasons import Reason
from authz.request import Request
from authz.rules import RouteRules
from policy.descriptors import (
    CALLER,
    CLIENT_ADDRESS_HEADER,
    CONTEXT_GATEWAY,
    CONTEXT_LISTENER,
    CONTEXT_POLICY,
    CONTEXT_ROUTE,
    GATEWAY,
    IDENTITY_HEADERS,
    OUTCOME,
    ROLE,
    ROUTE,
    SPOOFABLE_HEADERS,
    SPOOFABLE_PREFIXES,
    SUBJECT,
    TENANT,
    TIER,
)
from protos import ext_authz_pb2 as pb

REASON: Final = "reason"
# google.rpc.Code; anything but OK denies.
_PERMISSION_DENIED: Final = 7
_UNAUTHENTICATED: Final = 16
_UNAVAILABLE: Final = 14
_CODES: Final = {401: _UNAUTHENTICATED, 503: _UNAVAILABLE}

_CREDENTIAL_HEADERS: Final = (
    "authorization",
    "cookie",
    "proxy-authorization",
    "signature",
    "signature-input",
    "x-api-key",
)
# Fields that say who calls or what the body is: two of one of them are two answers to one question.
_SINGLE: Final = frozenset(
    {
        *("authorization", "content-digest", "content-encoding", "content-length", "content-type"),
        *("host", "signature", "signature-input", "x-api-key", "x-request-id", CLIENT_ADDRESS_HEADER),
    }
)
_SPOOFABLE: Final = frozenset(SPOOFABLE_HEADERS)
# Written by Envoy over whatever the client sent; services may read it.
_KEPT: Final = frozenset({CLIENT_ADDRESS_HEADER})


def read_request(message: pb.CheckRequest) -> Request:
    """The request that a check describes. What cannot be judged has a `defect`; nothing is guessed."""
    attributes = message.attributes
    http = attributes.request.http
    context = attributes.context_extensions
    path, mark, query = http.path.partition("?")
    defect: Reason | None = None
    exact = http.HasField("header_map")
    if exact:
        headers, defect = _read_raw_headers(http)
    else:
        lines = http.headers
        # dict(lines) would go through Python's KeysView, a third more slowly.
        headers = {name: lines[name] for name in lines}
    if not http.method or not path or not context:
        defect = Reason.CHECK_EMPTY
    return Request(
        gateway=context.get(CONTEXT_GATEWAY, ""),
        policy=context.get(CONTEXT_POLICY, ""),
        listener=context.get(CONTEXT_LISTENER, ""),
        route=context.get(CONTEXT_ROUTE, ""),
        method=http.method,
        scheme=http.scheme,
        authority=http.host,
        path=path,
        query=query if mark else None,
        headers=headers,
        # `body`, the text, is not read: Envoy puts `!` there for octets that are not UTF-8 (attack A52).
        body=http.raw_body or None,
        size=http.size,
        exact=exact,
        defect=defect,
    )


def _read_raw_headers(http: pb.AttributeContext.HttpRequest) -> tuple[dict[str, str], Reason | None]:
    headers: dict[str, str] = {}
    defect = None
    for line in http.header_map.headers:
        name = line.key
        try:
            value = line.raw_value.decode("utf-8") if line.raw_value else line.value
        except UnicodeDecodeError:
            defect = Reason.HEADER_INVALID
            continue
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE:
            defect = Reason.HEADER_INVALID
        else:
            headers[name] = f"{headers[name]}, {value}"
    # What was judged must be what is routed, octet for octet.
    if headers.get(":path", http.path) != http.path:
        defect = Reason.HEADER_INVALID
    return headers, defect


class Answers:
    """Decisions as responses. That of an allowed token is the same each time, and is built once."""

    _CAPACITY: Final = 16_384

    def __init__(self) -> None:
        self._allowed: dict[tuple[Principal, RouteRules], pb.CheckResponse] = {}

    def write(self, decision: Decision, request: Request) -> pb.CheckResponse:
        if decision.refusal is not None:
            return write_denied(decision, decision.refusal, request.request_id)
        route = decision.route
        if route is None:
            # Nothing is allowed without a route; a decision that says otherwise is a fault of ours.
            return write_failure(request.request_id)
        spoofed = _spoofed(request.headers)
        principal = decision.principal
        if spoofed or principal.kind is Kind.KEY or principal.kind is Kind.SIGNATURE:
            return write_allowed(principal, route, spoofed)
        answer = self._allowed.get((principal, route))
        if answer is None:
            if len(self._allowed) >= self._CAPACITY:
                del self._allowed[next(iter(self._allowed))]
            answer = self._allowed[principal, route] = write_allowed(principal, route, [])
        return answer


def _spoofed(headers: Mapping[str, str]) -> list[str]:
    """Names that say who calls, from where or what for, and that only a client can have sent."""
    prefixed = [name for name in headers if name.startswith(SPOOFABLE_PREFIXES) and name not in _KEPT]
    return prefixed if _SPOOFABLE.isdisjoint(headers) else [*prefixed, *_SPOOFABLE.intersection(headers)]


def _identity(principal: Principal) -> dict[str, str]:
    if principal is NOBODY:
        return {}
    values = (
        principal.subject,
        principal.tenant,
        principal.role,
        principal.tier,
        " ".join(sorted(principal.scopes)),
        principal.agent,
        principal.partner,
    )
    return {name: value for name, value in zip(IDENTITY_HEADERS, values, strict=True) if value}


def write_allowed(principal: Principal, route: RouteRules, spoofed: list[str]) -> pb.CheckResponse:
    """OK, with who it is for the service, and without what the client claims to be."""
    response = pb.CheckResponse()
    allowed = response.ok_response
    identity = _identity(principal)
    for name, value in identity.items():
        # Without `append`, Envoy overwrites.
        allowed.headers.add().header.MergeFrom(pb.HeaderValue(key=name, value=value))
    # Envoy removes after it has set, so what is set must not be removed.
    removed = dict.fromkeys((*IDENTITY_HEADERS, *spoofed))
    if route.strips_credentials:
        removed |= dict.fromkeys(_CREDENTIAL_HEADERS)
    allowed.headers_to_remove.extend(name for name in removed if name not in identity)
    _write_metadata(response, principal, route, ALLOWED, "")
    return response


def write_denied(decision: Decision, refusal: Refusal, request_id: str) -> pb.CheckResponse:
    """The refusal as the client's answer, with the same metadata as an allowed request's."""
    response = pb.CheckResponse()
    response.status.code = _CODES.get(refusal.status, _PERMISSION_DENIED)
    denied = response.denied_response
    denied.status.code = refusal.status
    denied.body = problem_body(refusal, request_id)
    for name, value in problem_headers(decision, refusal):
        denied.headers.add().header.MergeFrom(pb.HeaderValue(key=name, value=value))
    _write_metadata(response, decision.principal, decision.route, "denied", refusal.reason.value)
    return response


def write_failure(request_id: str) -> pb.CheckResponse:
    """The answer when deciding itself went wrong."""
    refusal = Refusal(Reason.INTERNAL_ERROR)
    return write_denied(Decision(refusal, NOBODY), refusal, request_id)


def _write_metadata(
    response: pb.CheckResponse, principal: Principal, route: RouteRules | None, outcome: str, reason: str
) -> None:
    """For the rate limiter and the access log, which read it as text; nothing secret (attack A71)."""
    values = {
        TIER: principal.tier,
        CALLER: principal.caller,
        SUBJECT: principal.subject,
        TENANT: principal.tenant,
        ROLE: principal.role,
        GATEWAY: "" if route is None else route.gateway,
        ROUTE: "" if route is None else route.name,
        OUTCOME: outcome,
        REASON: reason,
    }
    fields = response.dynamic_metadata.fields
    for name, value in values.items():
        if value:
            fields[name].string_value = value
