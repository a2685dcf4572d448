"""The body is all there, is JSON that nobody can read in two ways, and meets the schema of its method (R40, R102)."""

import re
from typing import Final

from authz.case import Case
from authz.decision import FieldError, Refusal
from authz.reasons import Reason
from authz.request import Request
from authz.strict_json import MAX_VALUES, Malformed, read_json

_JSON: Final = re.compile(r'application/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?', re.IGNORECASE)
# RFC 9110 §8.6; no length that can be meant has more digits.
_LENGTH: Final = re.compile("[0-9]{1,18}")
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Routes of large bodies admit one value for so many octets.
_OCTETS_PER_VALUE: Final = 64
_PARTIAL: Final = "x-envoy-auth-partial-body"


def check_schema(case: Case) -> Refusal | None:
    request, method = case.request, case.method
    if request.method in _BODILESS:
        # HTTP/2 announces nothing; there, only what has arrived by now says that there is a body.
        has_body = request.body or request.size > 0 or _announces_body(request)
        return Refusal(Reason.BODY_NOT_ALLOWED) if has_body else None
    if not case.route.checks_body:
        return _check_announced(case)
    incomplete = _check_whole(case)
    if incomplete is not None:
        return incomplete
    schema = None if method is None else method.schema
    if schema is None:
        return None
    refusal = _check_media_type(request)
    if refusal is not None:
        return refusal
    document = read_json(request.body or b"", max_values=max(MAX_VALUES, case.route.max_body // _OCTETS_PER_VALUE))
    if isinstance(document, Malformed):
        return Refusal(Reason.BODY_MALFORMED, errors=(FieldError("", document.rule),))
    case.document = document
    errors = schema.errors(document)
    return Refusal(Reason.BODY_INVALID, errors=errors) if errors else None


def _announces_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _check_announced(case: Case) -> Refusal | None:
    """A body that the check does not carry is at least not said to be too long."""
    length = case.request.headers.get("content-length", "0")
    if not _LENGTH.fullmatch(length):
        return Refusal(Reason.HEADER_INVALID, "content-length")
    return Refusal(Reason.BODY_TOO_LARGE) if max(int(length), case.request.size) > case.route.max_body else None


def _check_whole(case: Case) -> Refusal | None:
    """The check carries the whole body, or there is none: never judge by a beginning (attack A49)."""
    request = case.request
    length = 0 if request.body is None else len(request.body)
    if length > case.route.max_body or request.size > case.route.max_body:
        return Refusal(Reason.BODY_TOO_LARGE)
    if request.size > length or request.headers.get(_PARTIAL, "false") != "false":
        return Refusal(Reason.BODY_TOO_LARGE, "truncated") if length else Refusal(Reason.BODY_MISSING, "not sent")
    # Envoy does not buffer what follows an Upgrade, so the check would not see it.
    if "upgrade" in request.headers or (not length and _announces_body(request)):
        return Refusal(Reason.BODY_MISSING, "not sent")
    if not length and case.method is not None and case.method.schema is not None:
        return Refusal(Reason.BODY_MISSING)
    return None


def _check_media_type(request: Request) -> Refusal | None:
    # By the whole value: a substring would let `text/plain;application/json` pass (attack A50).
    if not _JSON.fullmatch(request.headers.get("content-type", "")):
        return Refusal(Reason.CONTENT_TYPE_UNSUPPORTED)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return Refusal(Reason.CONTENT_ENCODING_UNSUPPORTED)
    return None
