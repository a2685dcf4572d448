"""How many requests of a route an Envoy lets through, whoever they are from: the service's protection.

It stands behind authorization, so that nobody without a right to call can use up what the others need. The buckets are
part of the route configuration, and start full again with its every change.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import TokenBucket

from policy import traffic
from xds.compiler.encode import pack
from xds.compiler.shares import fixed_share
from xds.compiler.units import ListenerUnit

# Not the name of the flood guard's filter, which a route's configuration would replace.
NAME = "local_limit"


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    if not unit.some_local_limits:
        return None
    # Without a bucket it lets everything pass.
    return HttpFilter(name=NAME, typed_config=pack(LocalRateLimit(stat_prefix=NAME)))


def for_route(limit: traffic.LocalLimit) -> LocalRateLimit:
    return LocalRateLimit(
        stat_prefix=NAME,
        filter_enabled=fixed_share(100),
        filter_enforced=fixed_share(100),
        token_bucket=TokenBucket(
            max_tokens=limit.burst or limit.requests_per_second,
            tokens_per_fill=limit.requests_per_second,
            fill_interval=timedelta(seconds=1),
        ),
        response_headers_to_add=[HeaderValueOption(header=HeaderValue(key="retry-after", value="1"))],
        rate_limited_as_resource_exhausted=True,
    )
