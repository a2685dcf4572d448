"""`GET /healthz`: answered by Envoy itself, so that a balancer can ask without a credential."""

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.health_check"
PATH = "/healthz"


def filter_(unit: ListenerUnit) -> HttpFilter:
    del unit
    path = HeaderMatcher(name=":path", string_match=StringMatcher(exact=PATH))
    return HttpFilter(name=NAME, typed_config=pack(HealthCheck(pass_through_mode=False, headers=[path])))
