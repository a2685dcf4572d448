"""How a listener reads HTTP: what it refuses, what it strips, whose address it believes, how long it waits."""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    SchemeHeaderTransformation,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    Rds,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)

from policy.edge import ClientAddress
from xds.compiler import names
from xds.compiler.access_logs import access_logs
from xds.compiler.encode import pack
from xds.compiler.filters import filters_of
from xds.compiler.filters.header_mutation import hsts, stripped
from xds.compiler.forwarding import STREAM_IDLE
from xds.compiler.local_replies import local_replies
from xds.compiler.sources import ads
from xds.compiler.tracing import request_ids, tracing, untraced
from xds.compiler.units import ListenerUnit

# Behind a gateway there is room for the headers that it has added to those of its longest request.
_HEADERS_KB: Final = 32
_HEADERS_KB_BEHIND: Final = 48
_HEADERS: Final = 100
_HEADERS_BEHIND: Final = 150
_WINDOW: Final = 65_536
_CONNECTION_WINDOW: Final = 1_048_576


def connection_manager(unit: ListenerUnit) -> HttpConnectionManager:
    behind_a_gateway = unit.listener.client_address is ClientAddress.FORWARDED
    over_tls = unit.listener.tls is not None
    return HttpConnectionManager(
        stat_prefix=f"{unit.gateway}_{unit.name}",
        rds=Rds(config_source=ads(), route_config_name=names.routes_of(unit.name)),
        http_filters=filters_of(unit),
        server_name="apibank",
        # What a path rule sees must be what the service sees (CVE-2019-9901, CVE-2021-29492).
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        # A client may claim another (RFC 9113 §8.3.1); what came over TLS is https.
        scheme_header_transformation=SchemeHeaderTransformation(scheme_to_overwrite="https") if over_tls else None,
        strip_any_host_port=True if unit.redirects else None,
        # At the edge the TCP peer is the client, or the one that `trusted_hops` proxies of ours name; behind a
        # gateway it is the last address of X-Forwarded-For, which that gateway wrote.
        use_remote_address=not behind_a_gateway,
        xff_num_trusted_hops=unit.listener.trusted_hops,
        # header_mutation writes X-Forwarded-For; Envoy would add this machine's address to that of a local client.
        skip_xff_append=True,
        internal_address_config=_nobody_is_internal(),
        early_header_mutation_extensions=[_strip(unit)],
        # At the edge a new id replaces the client's; behind a gateway the id goes on through.
        generate_request_id=True,
        always_set_request_id_in_response=True,
        # HTTP/1.1 clients are told that their connection has come of age, instead of finding it closed.
        http1_safe_max_connection_duration=True,
        max_request_headers_kb=_HEADERS_KB_BEHIND if behind_a_gateway else _HEADERS_KB,
        request_headers_timeout=timedelta(seconds=10),
        request_timeout=timedelta(seconds=60),
        stream_idle_timeout=STREAM_IDLE,
        common_http_protocol_options=HttpProtocolOptions(
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
            idle_timeout=timedelta(seconds=300),
            # A changed listener or certificate reaches open connections when they end.
            max_connection_duration=timedelta(seconds=600),
            max_headers_count=_HEADERS_BEHIND if behind_a_gateway else _HEADERS,
        ),
        http2_protocol_options=Http2ProtocolOptions(
            # A gateway's connection carries many clients: room for all, and what is wrong with one ends only that one.
            max_concurrent_streams=1024 if behind_a_gateway else 128,
            override_stream_error_on_invalid_http_message=True if behind_a_gateway else None,
            initial_stream_window_size=_WINDOW,
            initial_connection_window_size=_CONNECTION_WINDOW,
        ),
        access_log=access_logs(unit),
        tracing=tracing(unit),
        request_id_extension=request_ids(unit),
        local_reply_config=local_replies(always=hsts(unit.listener)),
    )


def _strip(unit: ListenerUnit) -> TypedExtensionConfig:
    """Ahead of every filter, so that none of them reads what a client claims."""
    mutations = [*stripped(), *untraced(unit)]
    return TypedExtensionConfig(name="strip", typed_config=pack(EarlyHeaderMutation(mutations=mutations)))


def _nobody_is_internal() -> HttpConnectionManagerInternalAddressConfig:
    # An internal address may steer timeouts and retries with x-envoy-*; left unset, private addresses are internal.
    return HttpConnectionManagerInternalAddressConfig(
        unix_sockets=False, cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
    )
