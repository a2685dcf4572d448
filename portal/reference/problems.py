"""What refusals are in the reference: one form (RFC 9457), and by status what may have been wrong."""

from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "The page of the error catalogue."},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What to do about it."},
        "code": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "description": "For programs."},
        "request_id": {"type": "string", "description": "As in x-request-id; name it when you ask for help."},
        "errors": {
            "type": "array",
            "description": "Of a body: each place that breaks a rule.",
            "items": {
                "type": "object",
                "properties": {
                    "pointer": {"type": "string", "format": "json-pointer"},
                    "rule": {"type": "string"},
                },
            },
        },
    },
}

_WHAT: Final[Mapping[int, str]] = {
    400: "The request, its path, a header or its body is malformed.",
    401: "There is no credential, or none that is good.",
    403: "The caller may not do this.",
    405: "The path does not know this method; `Allow` has those that it knows.",
    413: "The body is too large.",
    415: "The body is no JSON, or is packed.",
    422: "The body is well formed, and a business rule refuses it.",
    429: "A limit is reached: `Retry-After` says in how many seconds a request passes again.",
    431: "The headers are too large.",
    502: "The service gave no answer that could be read.",
    503: "The service, or what decides on requests, is not there now; try again.",
    504: "The service took too long.",
}


def problem(status: int) -> dict[str, Any]:
    """A reference to the response of this status. KeyError for one that no gateway answers."""
    return {"$ref": f"#/components/responses/{_name(status)}"}


def responses() -> dict[str, Any]:
    """The responses that `problem` refers to."""
    return {_name(status): _response(status) for status in _WHAT}


def _name(status: int) -> str:
    if status not in _WHAT:
        raise KeyError(status)
    return f"Problem{status}"


def _response(status: int) -> dict[str, Any]:
    headers = {"x-request-id": {"$ref": "#/components/headers/RequestId"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"$ref": "#/components/headers/Challenge"}
    if status == 405:
        headers["Allow"] = {"$ref": "#/components/headers/Allow"}
    if status == 429:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
        headers["RateLimit"] = {"$ref": "#/components/headers/RateLimit"}
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": _WHAT[status], "headers": headers, "content": content}
