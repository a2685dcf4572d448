"""Protobuf to the protocol's own messages and back, and the shape of the gRPC services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from google.protobuf import descriptor_pb2, descriptor_pool

from protos import discovery_pb2 as pb
from xds.protocol.messages import DeltaRequest, Node, Response, SotwRequest
from xds.snapshot import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    LOCALITY_ENDPOINT,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
    Resource,
)

# The service of all types, and what follows "Stream" and "Delta" in the names of its methods.
AGGREGATED: Final = ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources")

# By type URL: the service of that type alone, likewise.
SERVICES: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
        ENDPOINT: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
        LOCALITY_ENDPOINT: ("envoy.service.endpoint.v3.LocalityEndpointDiscoveryService", "LocalityEndpoints"),
        LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
        ROUTE: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
        SCOPED_ROUTE: ("envoy.service.route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes"),
        VIRTUAL_HOST: ("envoy.service.route.v3.VirtualHostDiscoveryService", "VirtualHosts"),
        SECRET: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
        EXTENSION: ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
        RUNTIME: ("envoy.service.runtime.v3.RuntimeDiscoveryService", "Runtime"),
    }
)
DELTA_ONLY: Final = frozenset({VIRTUAL_HOST, LOCALITY_ENDPOINT})

_MESSAGE_HEAD: Final = 600
_MESSAGE_TAIL: Final = 1400
# An Envoy's refusal may hold the whole resource, and the reason comes after it.
_DUMP: Final = re.compile(r"goo\.gle/debug(?:str|proto|only)")
_REASON: Final = "Proto constraint validation failed"
_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)


def read_node(node: pb.Node) -> Node:
    version = node.user_agent_version
    if node.HasField("user_agent_build_version"):
        built = node.user_agent_build_version.version
        version = f"{built.major_number}.{built.minor_number}.{built.patch}"
    place = node.locality
    return Node(
        node.id,
        node.cluster,
        node.user_agent_name,
        version,
        place.region,
        place.zone,
        place.sub_zone,
        frozenset(node.client_features),
    )


def read_sotw(raw: bytes) -> SotwRequest:
    """A DiscoveryRequest. Raises google.protobuf.message.DecodeError where it is none."""
    request = pb.DiscoveryRequest.FromString(raw)
    return SotwRequest(
        type_url=request.type_url,
        nonce=request.response_nonce,
        error=readable(request.error_detail.message) if request.HasField("error_detail") else None,
        node=read_node(request.node) if request.HasField("node") else None,
        version=request.version_info,
        names=tuple(request.resource_names),
    )


def read_delta(raw: bytes) -> DeltaRequest:
    """A DeltaDiscoveryRequest. Raises google.protobuf.message.DecodeError where it is none."""
    request = pb.DeltaDiscoveryRequest.FromString(raw)
    return DeltaRequest(
        type_url=request.type_url,
        nonce=request.response_nonce,
        error=readable(request.error_detail.message) if request.HasField("error_detail") else None,
        node=read_node(request.node) if request.HasField("node") else None,
        subscribe=tuple(request.resource_names_subscribe),
        unsubscribe=tuple(request.resource_names_unsubscribe),
        initial_versions=dict(request.initial_resource_versions),
    )


def write_sotw(response: Response, identifier: str) -> bytes:
    message = pb.DiscoveryResponse(version_info=response.version, type_url=response.type_url, nonce=response.nonce)
    message.control_plane.identifier = identifier
    for resource in response.resources:
        if response.wrapped and resource.ttl is not None:
            wrapper = pb.Resource()
            _write_resource(wrapper, resource, response, response.version)
            message.resources.add().Pack(wrapper)
        else:
            message.resources.add(type_url=response.type_url, value=resource.body)
    return message.SerializeToString()


def write_delta(response: Response, identifier: str) -> bytes:
    message = pb.DeltaDiscoveryResponse(
        system_version_info=response.version,
        type_url=response.type_url,
        nonce=response.nonce,
        removed_resources=response.removed,
    )
    message.control_plane.identifier = identifier
    for resource in response.resources:
        _write_resource(message.resources.add(), resource, response, resource.version)
    for name in response.unresolved:
        message.resources.add(name=name, aliases=[name])
    return message.SerializeToString()


def _write_resource(entry: pb.Resource, resource: Resource, response: Response, version: str) -> None:
    entry.name = resource.name
    entry.version = version
    entry.aliases.extend(resource.aliases)
    if resource.ttl is not None:
        entry.ttl.FromTimedelta(timedelta(seconds=resource.ttl))
    if not response.bare:
        entry.resource.type_url = response.type_url
        entry.resource.value = resource.body


def readable(message: str) -> str:
    """A refusal's words without the resource that Envoy repeats in them, without keys, and not endless."""
    text = _PRIVATE_KEY.sub("[private key]", _without_dump(message))
    if len(text) > _MESSAGE_HEAD + _MESSAGE_TAIL:
        text = f"{text[:_MESSAGE_HEAD]} […] {text[-_MESSAGE_TAIL:]}"
    return text


def _without_dump(message: str) -> str:
    # By hand: an expression that looks for the reason from each dump on takes hours for a megabyte of dumps alone.
    kept, at = [], 0
    while (dump := _DUMP.search(message, at)) and (reason := message.find(_REASON, dump.end())) >= 0:
        kept.append(message[at : dump.start()])
        at = reason
    return "".join((*kept, message[at:]))


def describe_services() -> None:
    """Let gRPC reflection describe the services of single types; their messages are those of the aggregated one."""
    pool = descriptor_pool.Default()
    package = pb.DESCRIPTOR.package
    for type_url, (full_name, methods) in SERVICES.items():
        path = f"protos/described/{full_name}.proto"
        try:
            pool.FindFileByName(path)
            continue
        except KeyError:
            pass
        file = descriptor_pb2.FileDescriptorProto(
            name=path, package=full_name.rpartition(".")[0], syntax="proto3", dependency=[pb.DESCRIPTOR.name]
        )
        service = file.service.add(name=full_name.rpartition(".")[2])
        for prefix, stem in (("Stream", ""), ("Delta", "Delta")):
            if type_url in DELTA_ONLY and prefix == "Stream":
                continue
            service.method.add(
                name=prefix + methods,
                input_type=f".{package}.{stem}DiscoveryRequest",
                output_type=f".{package}.{stem}DiscoveryResponse",
                client_streaming=True,
                server_streaming=True,
            )
        pool.AddSerializedFile(file.SerializeToString())
