"""The sockets of a gateway."""

from datetime import timedelta

from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener

from xds.compiler.encode import pack
from xds.compiler.hcm import connection_manager
from xds.compiler.sources import address
from xds.compiler.tls import downstream_tls
from xds.compiler.units import ListenerUnit

_HCM = "envoy.filters.network.http_connection_manager"


def listener(unit: ListenerUnit) -> Listener:
    tls = unit.listener.tls
    chain = FilterChain(
        filters=[Filter(name=_HCM, typed_config=pack(connection_manager(unit)))],
        transport_socket=downstream_tls(tls) if tls is not None else None,
        # Else a client could hold a connection open by never finishing its handshake.
        transport_socket_connect_timeout=timedelta(seconds=10),
    )
    return Listener(
        name=unit.name,
        address=address(unit.listener.address),
        filter_chains=[chain],
        # A slow reader must not make Envoy keep its answers; requests have a bound of their own (filters/buffer.py).
        per_connection_buffer_limit_bytes=32_768,
    )
