"""The last filter: sends the request to its cluster."""

from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.router"


def filter_(unit: ListenerUnit) -> HttpFilter:
    del unit
    # x-envoy-* would tell clients and services about our insides, and some of them steer an Envoy.
    return HttpFilter(name=NAME, typed_config=pack(Router(suppress_envoy_headers=True)))
