"""The bodies of Envoy's own refusals: the same problem document (RFC 9457) that authz and ratelimit answer.

Mappers are tried in order. The first keeps what authz, ratelimit and routes have said, which Envoy would overwrite. A
request that is refused before it has an id gets one for its answer alone.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    ExtensionFilter,
    HeaderFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HeaderValueOption,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.filters.cel.v3 import ExpressionFilter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    LocalReplyConfig,
    ResponseMapper,
)
from envoy_data_plane.google.protobuf import Struct

from xds.compiler.encode import pack
from xds.compiler.filters.header_mutation import overwrite

CONTENT_TYPE: Final = "application/problem+json"
TYPE_BASE: Final = "https://waooaw.ai/problems/"
REQUEST_ID: Final = "x-request-id"


class Problem(NamedTuple):
    """A refusal of Envoy's own. `flag` tells apart what has the same status (Envoy's response flags)."""

    status: int
    code: str
    title: str
    detail: str
    flag: str | None = None


PROBLEMS: Final = (
    Problem(503, "authorization_unavailable", "Service Unavailable", "Nobody could decide on the request", "UAEX"),
    Problem(503, "limits_unavailable", "Service Unavailable", "Nobody could count the request", "RLSE"),
    Problem(400, "bad_request", "Bad Request", "The request line, a header or the path is not allowed"),
    Problem(403, "forbidden", "Forbidden", "The request is not allowed here"),
    Problem(404, "not_found", "Not Found", "Nothing is served at this path"),
    Problem(408, "request_timeout", "Request Timeout", "The request took too long to arrive"),
    Problem(413, "body_too_large", "Content Too Large", "The body is longer than this path takes"),
    Problem(426, "upgrade_required", "Upgrade Required", "HTTP/1.1 and HTTP/2 are served"),
    Problem(429, "rate_limited", "Too Many Requests", "More requests at a time than are taken here"),
    Problem(431, "headers_too_large", "Request Header Fields Too Large", "The headers are too many or too long"),
    Problem(500, "internal_error", "Internal Server Error", "The gateway could not handle the request"),
    Problem(502, "bad_gateway", "Bad Gateway", "The service gave no valid answer"),
    Problem(503, "service_unavailable", "Service Unavailable", "The service cannot be reached"),
    Problem(504, "upstream_timeout", "Gateway Timeout", "The service did not answer in time"),
)
OTHER: Final = Problem(400, "refused", "Refused", "The gateway refused the request")


def local_replies(always: Sequence[HeaderValueOption] = ()) -> LocalReplyConfig:
    """`always`: headers for the answers that no filter sees, because they are given before there is a request."""
    mappers = [_keep_what_a_service_said()]
    for problem in PROBLEMS:
        mappers += _mappers(problem, _status(ComparisonFilterOp.EQ, problem.status), always)
    mappers += _mappers(OTHER, _status(ComparisonFilterOp.GE, 400), always)
    return LocalReplyConfig(mappers=mappers)


def _keep_what_a_service_said() -> ResponseMapper:
    said = ExpressionFilter(
        expression="response.code_details in ['ext_authz_denied', 'request_rate_limited']"
        # Redirects are among them, and have no body.
        " || (response.code_details == 'direct_response' && response.code >= 400)"
    )
    extension = ExtensionFilter(name="envoy.access_loggers.extension_filters.cel", typed_config=pack(said))
    said_body = DataSource(inline_string="%LOCAL_REPLY_BODY%")
    return ResponseMapper(
        filter=AccessLogFilter(extension_filter=extension),
        body_format_override=SubstitutionFormatString(text_format_source=said_body, content_type=CONTENT_TYPE),
    )


def _mappers(
    problem: Problem, status: AccessLogFilter, always: Sequence[HeaderValueOption]
) -> Iterator[ResponseMapper]:
    filters = [status]
    if problem.flag is not None:
        filters.append(AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[problem.flag])))
    without_id = AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=REQUEST_ID, present_match=False)))
    yield ResponseMapper(
        filter=_all([*filters, without_id]),
        headers_to_add=[overwrite(REQUEST_ID, "%UNIQUE_ID%"), *always],
        body_format_override=_body(problem, f"%RESP({REQUEST_ID})%"),
    )
    yield ResponseMapper(filter=_all(filters), body_format_override=_body(problem, f"%REQ({REQUEST_ID})%"))


def _all(filters: list[AccessLogFilter]) -> AccessLogFilter:
    return filters[0] if len(filters) == 1 else AccessLogFilter(and_filter=AndFilter(filters=filters))


def _status(op: ComparisonFilterOp, status: int) -> AccessLogFilter:
    # Envoy demands a runtime key, by which nobody overrides anything here.
    value = RuntimeUInt32(default_value=status, runtime_key=f"local_replies.{status}")
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=op, value=value)))


def _body(problem: Problem, request_id: str) -> SubstitutionFormatString:
    document = _document(problem, "%RESPONSE_CODE%", request_id)
    return SubstitutionFormatString(json_format=Struct.from_dict(document), content_type=CONTENT_TYPE)


def answer_of_route(problem: Problem) -> SubstitutionFormatString:
    """The problem document with which a route answers. What looks like a command operator of Envoy's stays as it is.

    It is text, because this is formatted before the answer has a status, and Envoy writes a number as "503.0".
    """
    told = _document(problem, problem.status, "")
    text = json.dumps({**told, "request_id": "@"}, separators=(",", ":"), sort_keys=True).replace("%", "%%")
    # The id is ours or that of the gateway before us, and needs no escape.
    text = text.replace('"request_id":"@"', f'"request_id":"%REQ({REQUEST_ID})%"')
    return SubstitutionFormatString(text_format_source=DataSource(inline_string=text), content_type=CONTENT_TYPE)


def _document(problem: Problem, status: str | int, request_id: str) -> dict[str, str | int]:
    return {
        "type": TYPE_BASE + problem.code,
        "title": problem.title,
        "status": status,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": request_id,
    }
