"""Refusals as serialised CheckResponses: what is the same for a kind of them is encoded once, and put in front.

The numbers are those of envoy/service/auth/v3/external_auth.proto and google/protobuf/struct.proto; a property holds
the octets against those that protobuf makes of the same answer.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from authz.decision import Decision, Refusal
from authz.encoding import delimited, header_option, varint
from authz.metrics import DENIED
from authz.principal import NOBODY, Kind
from authz.problem import fixed_headers, own_headers, problem_end, problem_start
from authz.reasons import ANSWERS, Reason
from authz.rules import RouteRules
from policy.descriptors import CALLER, CREDENTIAL, GATEWAY, OUTCOME, ROLE, ROUTE, SUBJECT, TENANT, TIER

REASON: Final = "reason"
# google.rpc.Code; anything but OK denies.
_PERMISSION_DENIED: Final = 7
_UNAUTHENTICATED: Final = 16
_UNAVAILABLE: Final = 14
_CODES: Final = {401: _UNAUTHENTICATED, 503: _UNAVAILABLE}

# CheckResponse
_STATUS, _DENIED, _METADATA = 1, 2, 4
# google.rpc.Status, DeniedHttpResponse (its own status has the number of the other), HttpStatus
_CODE, _HEADERS, _BODY = 1, 2, 3
# An entry of a map, google.protobuf.Struct and Value
_KEY, _VALUE, _FIELDS, _TEXT = 1, 2, 1, 3


@dataclass(frozen=True, slots=True)
class _Kind:
    """What refusals of one kind have in common.

    `status`: of the CheckResponse. `head`: status and headers of the client's answer. `start`: its body, up to the
    request's id. `ended` and `route`: what the metadata says of the refusal and where it was.
    """

    status: bytes
    head: bytes
    start: bytes
    ended: bytes
    route: bytes
    # All of the metadata, where nobody is known to be calling.
    nobody: bytes


def write_denied(decision: Decision, refusal: Refusal, request_id: str) -> bytes:
    """The refusal as the client's answer, with the same metadata as an allowed request's."""
    principal = decision.principal
    kind = _kind(
        decision.route,
        refusal.reason,
        refusal.code,
        refusal.sentence,
        refusal.allow,
        refusal.scope,
        principal.kind is Kind.TOKEN,
    )
    head = kind.head
    if decision.told or refusal.retry_after:
        head += _headers(own_headers(decision, refusal))
    body = delimited(_BODY, kind.start + problem_end(refusal, request_id).encode())
    if principal is NOBODY:
        metadata = kind.nobody
    else:
        # In the order of their names, as protobuf does it where it is asked for one order.
        pieces = (
            _entry(CALLER, principal.caller),
            _entry(CREDENTIAL, principal.key),
            kind.ended,
            _entry(ROLE, principal.role),
            kind.route,
            _entry(SUBJECT, principal.subject),
            _entry(TENANT, principal.tenant),
            _entry(TIER, principal.counted_tier),
        )
        metadata = delimited(_METADATA, b"".join(pieces))
    return kind.status + delimited(_DENIED, head + body) + metadata


def write_failure(request_id: str) -> bytes:
    """The answer when deciding itself went wrong."""
    refusal = Refusal(Reason.INTERNAL_ERROR)
    return write_denied(Decision(refusal, NOBODY), refusal, request_id)


# Routes, reasons, and what policy says of them: nothing here is a request's.
@lru_cache(maxsize=4096)
def _kind(
    route: RouteRules | None, reason: Reason, code: str, sentence: str, allow: str, scope: str, is_token: bool
) -> _Kind:
    status = ANSWERS[reason].status
    gateway, name = ("", "") if route is None else (route.gateway, route.name)
    ended = _entry(GATEWAY, gateway) + _entry(OUTCOME, DENIED) + _entry(REASON, code)
    where = _entry(ROUTE, name)
    return _Kind(
        delimited(_STATUS, varint(_CODE, _CODES.get(status, _PERMISSION_DENIED))),
        delimited(_STATUS, varint(_CODE, status)) + _headers(fixed_headers(route, reason, allow, scope, is_token)),
        problem_start(reason, code, sentence).encode(),
        ended,
        where,
        delimited(_METADATA, _entry(CALLER, NOBODY.caller) + ended + where),
    )


def _headers(headers: list[tuple[str, str]]) -> bytes:
    return b"".join([delimited(_HEADERS, header_option(name, value)) for name, value in headers])


def _entry(name: str, value: str) -> bytes:
    """For the rate limiter and the access log, which read it as text; nothing secret (attack A71)."""
    if not value:
        return b""
    text = delimited(_TEXT, value.encode())
    return delimited(_FIELDS, delimited(_KEY, name.encode()) + delimited(_VALUE, text))
