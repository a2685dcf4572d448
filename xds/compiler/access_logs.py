"""Every request is told to the gateway's telemetry service when it has ended; none waits for it."""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, GrpcService, GrpcServiceEnvoyGrpc
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig

from xds.compiler import names
from xds.compiler.encode import pack
from xds.compiler.units import ListenerUnit

# A page that shows requests shows them about so long after they ended.
_FLUSH: Final = timedelta(seconds=1)
# Of each worker; an entry has some 600.
_BUFFER_OCTETS: Final = 65_536


def access_logs(unit: ListenerUnit) -> list[AccessLog]:
    """None where the gateway has no telemetry service."""
    if unit.services.telemetry is None:
        return []
    common = CommonGrpcAccessLogConfig(
        log_name=unit.name,
        transport_api_version=ApiVersion.V3,
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=names.TELEMETRY)),
        buffer_flush_interval=_FLUSH,
        buffer_size_bytes=_BUFFER_OCTETS,
    )
    logger = HttpGrpcAccessLogConfig(common_config=common)
    return [AccessLog(name="envoy.access_loggers.http_grpc", typed_config=pack(logger))]
