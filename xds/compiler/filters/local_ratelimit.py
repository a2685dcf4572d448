"""The flood guard: a coarse limit per client address in Envoy itself, so that a flood never reaches Python.

The buckets are part of the listener, because buckets in a route configuration start full again with its every change.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import HeaderValue, HeaderValueOption, RuntimeFractionalPercent
from envoy_data_plane.envoy.config.route.v3 import RateLimit, RateLimitAction, RateLimitActionMaskedRemoteAddress
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import LocalRateLimitDescriptor, RateLimitDescriptorEntry
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.v3 import FractionalPercent, TokenBucket

from policy.edge import FloodGuard
from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.local_ratelimit"

# Addresses that have a bucket at one time. The one unused for longest makes room, and starts full when it returns.
_ADDRESSES = 20_000
# Whoever has one IPv6 address has all of its /64, and could give each of its requests a full bucket.
_NETWORK = RateLimitActionMaskedRemoteAddress(v4_prefix_mask_len=32, v6_prefix_mask_len=64)


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    guard = unit.services.flood_guard
    if guard is None:
        return None
    config = LocalRateLimit(
        stat_prefix="flood_guard",
        # Both default to 0 %, which would guard nothing.
        filter_enabled=_always(),
        filter_enforced=_always(),
        token_bucket=_bucket(guard),
        always_consume_default_token_bucket=False,
        max_dynamic_descriptors=_ADDRESSES,
        # An entry without a value has a bucket for each value.
        descriptors=[
            LocalRateLimitDescriptor(
                entries=[RateLimitDescriptorEntry(key="masked_remote_address")], token_bucket=_bucket(guard)
            )
        ],
        rate_limits=[RateLimit(actions=[RateLimitAction(masked_remote_address=_NETWORK)])],
        response_headers_to_add=[HeaderValueOption(header=HeaderValue(key="retry-after", value="1"))],
        rate_limited_as_resource_exhausted=True,
    )
    return HttpFilter(name=NAME, typed_config=pack(config))


def _bucket(guard: FloodGuard) -> TokenBucket:
    return TokenBucket(
        max_tokens=guard.burst, tokens_per_fill=guard.requests_per_second, fill_interval=timedelta(seconds=1)
    )


def _always() -> RuntimeFractionalPercent:
    return RuntimeFractionalPercent(default_value=FractionalPercent(numerator=100))
