"""How often: one descriptor for each limit of a route, in the domain of the gateway's name.

The keys and what stands for a missing value come from `policy.descriptors`, where authz and ratelimit have them from.
The headers and the body of a 429 are the rate-limit service's.
"""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import ApiVersion, HeaderValue
from envoy_data_plane.envoy.config.ratelimit.v3 import RateLimitServiceConfig
from envoy_data_plane.envoy.config.route.v3 import RateLimit as Descriptor
from envoy_data_plane.envoy.config.route.v3 import (
    RateLimitAction,
    RateLimitActionGenericKey,
    RateLimitActionMetaData,
    RateLimitActionMetaDataSource,
    RateLimitActionRequestHeaders,
)
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimit, RateLimitPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKey, MetadataKeyPathSegment
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from policy import descriptors
from policy.limit_shapes import LimitShape
from xds.compiler import names
from xds.compiler.encode import pack
from xds.compiler.local_replies import REQUEST_ID
from xds.compiler.sources import grpc_service
from xds.compiler.units import ListenerUnit

NAME = "envoy.filters.http.ratelimit"


def filter_(unit: ListenerUnit) -> HttpFilter | None:
    if unit.redirects:
        return None
    asked = grpc_service(names.RATELIMIT, unit.services.ratelimit.timeout_ms)
    # For the body of a 429. A descriptor could not carry it: each request would have counters of its own.
    asked.initial_metadata = [HeaderValue(key=REQUEST_ID, value=f"%REQ({REQUEST_ID})%")]
    service = RateLimitServiceConfig(
        grpc_service=asked,
        transport_api_version=ApiVersion.V3,
    )
    config = RateLimit(
        domain=unit.gateway,
        # The filter's own time-out decides, not the one of its gRPC service, and is 20 ms where it is not set.
        timeout=timedelta(milliseconds=unit.services.ratelimit.timeout_ms),
        rate_limit_service=service,
        failure_mode_deny=unit.limits_fail_closed,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        rate_limited_as_resource_exhausted=True,
        disable_x_envoy_ratelimited_header=True,
    )
    return HttpFilter(name=NAME, typed_config=pack(config))


def for_limits(limits: tuple[LimitShape, ...]) -> RateLimitPerRoute:
    """The descriptors of a route or host. On a route they replace the host's, none included."""
    return RateLimitPerRoute(rate_limits=[Descriptor(actions=_actions(limit)) for limit in limits])


def _actions(limit: LimitShape) -> list[RateLimitAction]:
    name = RateLimitActionGenericKey(descriptor_key=descriptors.LIMIT, descriptor_value=limit.name)
    return [RateLimitAction(generic_key=name), *map(_value, limit.keys)]


def _value(key: str) -> RateLimitAction:
    if key != descriptors.ADDRESS:
        return _metadata(key)
    # Envoy drops the whole descriptor where the header is not there; header_mutation has written it.
    header = RateLimitActionRequestHeaders(header_name=descriptors.CLIENT_ADDRESS_HEADER, descriptor_key=key)
    return RateLimitAction(request_headers=header)


def _metadata(key: str) -> RateLimitAction:
    # Without a default the whole descriptor would be dropped, and with it the limit.
    return RateLimitAction(
        metadata=RateLimitActionMetaData(
            descriptor_key=key,
            metadata_key=MetadataKey(key=descriptors.METADATA_NAMESPACE, path=[MetadataKeyPathSegment(key=key)]),
            source=RateLimitActionMetaDataSource.DYNAMIC,
            default_value=descriptors.UNKNOWN,
        )
    )
