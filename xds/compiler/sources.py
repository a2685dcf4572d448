"""Where Envoy finds what a resource refers to: other resources on the same ADS stream, and services by gRPC."""

from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Pipe,
    SocketAddress,
)


def ads() -> ConfigSource:
    """The stream on which the referring resource came."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


def grpc_service(cluster: str, timeout_ms: int) -> GrpcService:
    # Without one, Envoy takes the cluster's name for the authority; ours has a slash, which no host has.
    service = GrpcServiceEnvoyGrpc(cluster_name=cluster, authority=cluster.rpartition("/")[2])
    return GrpcService(envoy_grpc=service, timeout=timedelta(milliseconds=timeout_ms))


def address(endpoint: str) -> Address:
    """An endpoint of a policy, `host:port`, `[ipv6]:port` or `unix:/path`, as Envoy writes it."""
    if endpoint.startswith("unix:"):
        return Address(pipe=Pipe(path=endpoint.removeprefix("unix:")))
    host, _, port = endpoint.rpartition(":")
    return Address(socket_address=SocketAddress(address=host.strip("[]"), port_value=int(port)))
