"""The authority is one host, path and query are in order, and the route that Envoy chose is the one that serves them.

Envoy normalises paths before it routes. That this still holds is checked here, because a path that two programs read
differently reaches one route under another's rules (attacks A31 to A34).
"""

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote_to_bytes

from authz.case import Case
from authz.decision import Refusal
from authz.reasons import Reason

MAX_PATH: Final = 8192
MAX_QUERY: Final = 8192
MAX_PARAMETERS: Final = 256
MAX_AUTHORITY: Final = 261

# RFC 3986 §3.2: a name or an IPv4 address, or an IPv6 address in brackets, and a port; never user information.
_AUTHORITY: Final = re.compile(r"(?:[A-Za-z0-9.-]++|\[([0-9A-Fa-f:.]++)\])(?::[0-9]{1,5})?")
# What nearly every path looks like: nothing to decode, no empty and no dot segments.
_PLAIN: Final = re.compile(r"/(?:[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*(?:/|$))*")
# RFC 3986 §3.3 pchar without `;`, which some servers cut a segment at.
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%[0-9A-Fa-f]{2})+")
# RFC 3986 §6.2.2.2: a letter, digit, hyphen, point, underscore or tilde is not encoded in normal form.
_ENCODED_UNRESERVED: Final = re.compile(r"%(?:3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|2[DdEe]|5[Ff]|7[Ee])")
_TREACHEROUS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f/\\%;?#]")


def _is_normal_segment(segment: str) -> bool:
    if not _SEGMENT.fullmatch(segment) or _ENCODED_UNRESERVED.search(segment):
        return False
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return False
    # What decodes to a delimiter, or to something to be decoded once more, means another path to someone.
    if _TREACHEROUS.search(decoded) or decoded.startswith((" ", "..")):
        return False
    return not decoded.endswith((" ", "."))


def is_normal_path(path: str) -> bool:
    """Whether every reader of this path must see the same segments. One `/` at the end is allowed."""
    if len(path) > MAX_PATH or not path.startswith("/"):
        return False
    if _PLAIN.fullmatch(path):
        return True
    return all(_is_normal_segment(segment) for segment in path[1:].removesuffix("/").split("/"))


def is_bounded_query(query: str) -> bool:
    """Whether the query is one that whoever takes it apart is done with soon."""
    return len(query) <= MAX_QUERY and query.count("&") + query.count(";") < MAX_PARAMETERS


def is_authority(authority: str) -> bool:
    """Whether all who compare, log or sign this authority mean the same host by it."""
    return len(authority) <= MAX_AUTHORITY and _is_authority(authority)


# Nearly all requests name one of a few hosts.
@lru_cache(maxsize=256)
def _is_authority(authority: str) -> bool:
    found = _AUTHORITY.fullmatch(authority)
    if found is None or found[1] is None:
        return found is not None
    try:
        ip_address(found[1])
    except ValueError:
        return False
    return True


def check_target(case: Case) -> Refusal | None:
    path = case.request.path
    if not is_authority(case.request.authority):
        return Refusal(Reason.HEADER_INVALID, "authority")
    # Without raw headers `!` may stand for an octet that is not UTF-8.
    if not is_normal_path(path) or (not case.request.exact and "!" in path):
        return Refusal(Reason.PATH_INVALID)
    if case.request.query is not None and not is_bounded_query(case.request.query):
        return Refusal(Reason.QUERY_INVALID)
    if not case.route.serves(path):
        return Refusal(Reason.ROUTE_MISMATCH, case.route.name)
    return None
