"""Traced requests tell of themselves by OTLP: what a gateway did, whom it asked, and for how long (OpenTelemetry).

Of a request there is one span for the gateway, with what was decided, and below it one for each call that Envoy makes
for it: to authorization, to the limits, to the service behind. Envoy gives each the traceparent of its own span (W3C
Trace Context §3.2), so the next gateway's spans stand below those of this one.
"""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as Mutation
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, TypedExtensionConfig
from envoy_data_plane.envoy.config.trace.v3 import OpenTelemetryConfig, TracingHttp
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManagerTracing,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.envoy.extensions.tracers.opentelemetry.samplers.v3 import (
    ParentBasedSamplerConfig,
    TraceIdRatioBasedSamplerConfig,
)
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag, CustomTagLiteral
from envoy_data_plane.envoy.type.v3 import Percent

from policy import descriptors
from policy.edge import ClientAddress
from policy.tracing import Tracing
from xds.compiler import names
from xds.compiler.encode import pack
from xds.compiler.shares import share
from xds.compiler.units import ListenerUnit

_PROVIDER: Final = "envoy.tracers.opentelemetry"
_SAMPLERS: Final = f"{_PROVIDER}.samplers"
_TIMEOUT: Final = timedelta(seconds=1)
# The headers of W3C Trace Context.
_CONTEXT: Final = ("traceparent", "tracestate")
_TAGS: Final = {
    "apibank.route": "%ROUTE_NAME%",
    "apibank.tier": f"%DYNAMIC_METADATA({descriptors.METADATA_NAMESPACE}:{descriptors.TIER})%",
    "apibank.outcome": f"%DYNAMIC_METADATA({descriptors.METADATA_NAMESPACE}:{descriptors.OUTCOME})%",
    "apibank.response_code_details": "%RESPONSE_CODE_DETAILS%",
    # In the place of the tags that Envoy makes, as those have the query, which can hold anything.
    "url.path": "%PATH(NQ)%",
    "grpc.path": "%PATH(NQ)%",
}


def tracing(unit: ListenerUnit) -> HttpConnectionManagerTracing | None:
    """None where the gateway traces nothing."""
    wanted = _wanted(unit)
    if wanted is None:
        return None
    cluster = names.TELEMETRY if wanted.endpoint is None else names.TRACES
    provider = OpenTelemetryConfig(
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster), timeout=_TIMEOUT),
        service_name=f"apibank-{unit.gateway}",
        sampler=_sampler(wanted),
    )
    literals = {
        "apibank.gateway": unit.gateway,
        "apibank.listener": unit.name,
        "apibank.edge": str(_edge(unit)).lower(),
    }
    return HttpConnectionManagerTracing(
        # x-client-trace-id would have any request traced.
        client_sampling=Percent(value=0),
        # The sampler decides; this would be drawn again in every gateway, and leave parts of traces.
        random_sampling=Percent(value=100),
        overall_sampling=Percent(value=100),
        # Of the URL only the host; see the tag url.path.
        max_path_tag_length=0,
        spawn_upstream_span=True,
        operation="%REQ(:METHOD)% %ROUTE_NAME%",
        custom_tags=[
            *(CustomTag(tag=tag, literal=CustomTagLiteral(value=value)) for tag, value in literals.items()),
            *(CustomTag(tag=tag, value=value) for tag, value in _TAGS.items()),
        ],
        provider=TracingHttp(name=_PROVIDER, typed_config=pack(provider)),
    )


def _sampler(wanted: Tracing) -> TypedExtensionConfig:
    """Who goes on with a trace does as the one who began it; who begins it draws."""
    drawn = TraceIdRatioBasedSamplerConfig(sampling_percentage=share(wanted.sample_percent))
    drawing = TypedExtensionConfig(name=f"{_SAMPLERS}.trace_id_ratio_based", typed_config=pack(drawn))
    following = ParentBasedSamplerConfig(wrapped_sampler=drawing)
    return TypedExtensionConfig(name=f"{_SAMPLERS}.parent_based", typed_config=pack(following))


def request_ids(unit: ListenerUnit) -> RequestIdExtension | None:
    """Envoy would write into the id of a request why it is traced, and the id would be no UUID of version 4 then."""
    if _wanted(unit) is None:
        return None
    return RequestIdExtension(typed_config=pack(UuidRequestIdConfig(pack_trace_reason=False)))


def untraced(unit: ListenerUnit) -> list[Mutation]:
    """Taken from requests where clients reach us: the traces that they claim to be part of."""
    wanted = _wanted(unit)
    if wanted is None or wanted.continue_from_clients or not _edge(unit):
        return []
    return [Mutation(remove=header) for header in _CONTEXT]


def _wanted(unit: ListenerUnit) -> Tracing | None:
    telemetry = unit.services.telemetry
    return None if telemetry is None or unit.redirects else telemetry.tracing


def _edge(unit: ListenerUnit) -> bool:
    return unit.listener.client_address is ClientAddress.PEER
