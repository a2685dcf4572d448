"""Who is calling, and may they: every route asks authz, public ones too (methods, networks, bodies, limits).

Nothing here lets a request pass without an answer: no service, no time left or an invalid answer is a 503.
"""

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import ApiVersion
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    BufferSettings,
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from policy.descriptors import CONTEXT_ROUTE
from xds.compiler import names
from xds.compiler.encode import draft, pack
from xds.compiler.sources import grpc_service
from xds.compiler.units import ListenerUnit, RouteUnit

NAME = "envoy.filters.http.ext_authz"

# The buffer filter has the body ready for every route, and Envoy shows of it what this admits: the least there is.
_UNLESS_A_ROUTE_SAYS = 1


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    if unit.redirects:
        return None
    tls = unit.listener.tls
    config = ExtAuthz(
        grpc_service=grpc_service(names.AUTHZ, unit.services.authz.timeout_ms),
        transport_api_version=ApiVersion.V3,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        # An answer cannot choose another route than the one that was judged.
        clear_route_cache=False,
        validate_mutations=True,
        # Envoy takes `pack_as_bytes` from here alone; which routes show their bodies, they say themselves.
        with_request_body=_whole(_UNLESS_A_ROUTE_SAYS),
        include_peer_certificate=tls is not None and tls.client_authority is not None,
    )
    return HttpFilter(name=NAME, typed_config=pack(config))


def for_host(context: Mapping[str, str]) -> ExtAuthzPerRoute:
    """What is the same for every route of a listener. Envoy merges the context of the two, and only that."""
    return ExtAuthzPerRoute(check_settings=CheckSettings(context_extensions=dict(context)))


def for_route(unit: RouteUnit) -> ExtAuthzPerRoute:
    """The route's name, and its body where something in it is checked: as bytes, and 413 where it is too long.

    Envoy lets the last frame of a body run over the bound by its own length, and shows authz the body without that
    end, with x-envoy-auth-partial-body: authz must refuse it (authz/checks/schema.py).
    """
    checked = unit.checked_body_bytes
    settings = draft(
        CheckSettings,
        context_extensions={CONTEXT_ROUTE: unit.name},
        with_request_body=_whole(checked) if checked else None,
        disable_request_body_buffering=not checked,
    )
    return draft(ExtAuthzPerRoute, check_settings=settings)


def for_nobody() -> ExtAuthzPerRoute:
    """Nobody is asked. Only for what Envoy answers by itself, whoever asks: nothing may lead on from there."""
    return ExtAuthzPerRoute(disabled=True)


def _whole(most_bytes: int) -> BufferSettings:
    # A prefix of a body proves nothing about the rest, so a partial message is never sent.
    return draft(BufferSettings, max_request_bytes=most_bytes, allow_partial_message=False, pack_as_bytes=True)
