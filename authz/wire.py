"""Envoy's messages in, our values out, and back (envoy.service.auth.v3)."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from authz.encoding import delimited, header_option
from authz.metrics import ALLOWED
from authz.principal import Principal
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
    CREDENTIAL,
    GATEWAY,
    IDENTITY_HEADERS,
    OUTCOME,
    ROLE,
    ROUTE,
    SUBJECT,
    TENANT,
    TIER,
)
from protos import ext_authz_pb2 as pb

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


# Field numbers of CheckResponse, OkHttpResponse, and of a header, an entry of a map and a Struct's value.
_OK: Final = pb.CheckResponse.OK_RESPONSE_FIELD_NUMBER
_METADATA: Final = pb.CheckResponse.DYNAMIC_METADATA_FIELD_NUMBER
_HEADERS: Final = pb.OkHttpResponse.HEADERS_FIELD_NUMBER
_REMOVALS: Final = pb.OkHttpResponse.HEADERS_TO_REMOVE_FIELD_NUMBER
_TOLD: Final = pb.OkHttpResponse.RESPONSE_HEADERS_TO_ADD_FIELD_NUMBER
_FIRST: Final = 1
_SECOND: Final = 2
_TEXT: Final = Value.STRING_VALUE_FIELD_NUMBER

_CALLER: Final = (TIER, CALLER, SUBJECT, TENANT, ROLE, CREDENTIAL)
_CALLER_NAMES: Final = tuple(delimited(_FIRST, name.encode()) for name in _CALLER)
_IDENTITY_NAMES: Final = tuple(delimited(_FIRST, name.encode()) for name in IDENTITY_HEADERS)


class UnreadableCheckError(Exception):
    """Octets that are no check: its text says so."""


def read_check(raw: bytes) -> Request:
    """The request that a serialised CheckRequest describes. Raises UnreadableCheckError."""
    try:
        message = pb.CheckRequest.FromString(raw)
    except DecodeError as error:
        raise UnreadableCheckError("not a CheckRequest") from error
    return read_request(message)


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
    # By position, since names cost half a microsecond: the order is that of Request.
    return Request(
        context.get(CONTEXT_GATEWAY, ""),
        context.get(CONTEXT_POLICY, ""),
        context.get(CONTEXT_LISTENER, ""),
        context.get(CONTEXT_ROUTE, ""),
        http.method,
        http.scheme,
        http.host,
        path,
        query if mark else None,
        headers,
        # `body`, the text, is not read: Envoy puts `!` there for octets that are not UTF-8 (attack A52).
        http.raw_body or None,
        http.size,
        exact,
        defect,
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


def write_allowed(principal: Principal, route: RouteRules, spoofed: Iterable[str] = ()) -> bytes:
    """OK, serialised: who it is for the service, and without what the client claims to be (`spoofed`).

    What is the same for all callers of a route is encoded once; the rest is a few short texts.
    """
    values = principal.identity
    removals, metadata = _constant(route, tuple([bool(value) for value in values]))
    headers = [
        delimited(_HEADERS, delimited(_FIRST, name + delimited(_SECOND, value.encode())))
        for name, value in zip(_IDENTITY_NAMES, values, strict=True)
        if value
    ]
    # What Envoy is told to set must not be removed: it removes after it has set.
    claims = [delimited(_REMOVALS, name.encode()) for name in spoofed if name not in IDENTITY_HEADERS]
    texts = [
        delimited(_FIRST, name + delimited(_SECOND, delimited(_TEXT, value.encode())))
        for name, value in zip(_CALLER_NAMES, _caller(principal), strict=True)
        if value
    ]
    allowed = b"".join((*headers, removals, *claims))
    return delimited(_OK, allowed) + delimited(_METADATA, b"".join((metadata, *texts)))


def write_told(headers: Iterable[tuple[str, str]]) -> bytes:
    """What makes of an allowed answer one with these headers for the client, when it is put behind it.

    A message that stands twice in another is merged (protobuf.dev/programming-guides/encoding, last one wins).
    """
    return delimited(_OK, b"".join([delimited(_TOLD, header_option(name, value)) for name, value in headers]))


@lru_cache(maxsize=1024)
def _constant(route: RouteRules, is_set: tuple[bool, ...]) -> tuple[bytes, bytes]:
    """The removals and the metadata that answers have in common which set these of the identity headers."""
    removed = [name for name, each in zip(IDENTITY_HEADERS, is_set, strict=True) if not each]
    if route.strips_credentials:
        removed += _CREDENTIAL_HEADERS
    metadata = pb.CheckResponse()
    _write_metadata(metadata, {GATEWAY: route.gateway, ROUTE: route.name, OUTCOME: ALLOWED})
    ok = pb.OkHttpResponse(headers_to_remove=removed)
    return ok.SerializeToString(), metadata.dynamic_metadata.SerializeToString()


def _caller(principal: Principal) -> tuple[str, ...]:
    """What the metadata says of the caller, in the order of its names."""
    one = principal
    return one.counted_tier, one.caller, one.subject, one.tenant, one.role, one.key


def _write_metadata(response: pb.CheckResponse, values: Mapping[str, str]) -> None:
    """For the rate limiter and the access log, which read it as text; nothing secret (attack A71)."""
    fields = response.dynamic_metadata.fields
    for name, value in values.items():
        if value:
            fields[name].string_value = value
