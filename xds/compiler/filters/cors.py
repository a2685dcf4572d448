"""Which web pages may call (Fetch standard, CORS protocol): the filter in the listener, its policy on host or route."""

from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors, CorsPolicy
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from policy import edge
from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.cors"


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    return HttpFilter(name=NAME, typed_config=pack(Cors())) if unit.listener.cors or unit.some_cors else None


def policy_of(cors: edge.Cors) -> CorsPolicy:
    return CorsPolicy(
        allow_origin_string_match=[StringMatcher(exact=origin) for origin in cors.origins],
        allow_methods=", ".join(cors.methods),
        allow_headers=", ".join(cors.headers),
        expose_headers=", ".join(cors.exposed_headers),
        max_age=str(cors.max_age_seconds),
        allow_credentials=cors.credentials,
        # Else the preflight of a foreign page would go on to the service, unauthenticated.
        forward_not_matching_preflights=False,
    )
