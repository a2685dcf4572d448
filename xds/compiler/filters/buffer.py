"""A request's body arrives as a whole before anybody judges the request, and one that is too long is a 413.

A refusal that overtakes the body is followed by RST_STREAM(NO_ERROR) over HTTP/2 (RFC 9113 §8.1), and there are clients
that show the reset in place of the answer. And where no body is checked, nothing else would bound it. Only requests
wait: answers go through as they come.
"""

from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from xds.compiler.encode import draft, pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.buffer"


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    if unit.redirects:
        return None
    return HttpFilter(name=NAME, typed_config=pack(Buffer(max_request_bytes=unit.max_body_bytes)))


def for_route(most_bytes: int) -> BufferPerRoute:
    """The bound of a route that has one of its own."""
    return draft(BufferPerRoute, buffer=draft(Buffer, max_request_bytes=most_bytes))


def for_upgrade() -> BufferPerRoute:
    """No waiting: what follows an upgrade is no body, and has no end."""
    return BufferPerRoute(disabled=True)
