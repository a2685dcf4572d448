"""The fast encoder writes what envoy-data-plane writes, for any message of the classes that the compiler builds."""

from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz, ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation
from envoy_data_plane.envoy.extensions.filters.http.local_ratelimit.v3 import LocalRateLimit
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimit, RateLimitPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import DownstreamTlsContext, Secret
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions
from envoy_data_plane.google.protobuf import FieldDescriptorProto, Struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.property.xds_compiler.envoy_messages import fields_of, messages, with_sorted_maps
from xds.compiler.encode import draft, encode, entries, entry, pack

CLASSES = [
    Cluster,
    ClusterLoadAssignment,
    DownstreamTlsContext,
    ExtAuthz,
    ExtAuthzPerRoute,
    FieldDescriptorProto,
    HeaderMutation,
    HttpConnectionManager,
    HttpProtocolOptions,
    Listener,
    LocalRateLimit,
    Metadata,
    RateLimit,
    RateLimitPerRoute,
    RouteConfiguration,
    Secret,
    Struct,
]

slow = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@slow
@given(data=st.data())
def test_a_message_is_encoded_as_envoy_data_plane_encodes_it_with_sorted_maps(kind: Any, data: st.DataObject) -> None:
    message = data.draw(messages(kind))
    assert encode(message) == bytes(with_sorted_maps(message))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@slow
@given(data=st.data())
def test_an_unvalidated_draft_is_encoded_as_the_validated_message(kind: Any, data: st.DataObject) -> None:
    arguments = data.draw(fields_of(kind))
    assert encode(draft(kind, **arguments)) == encode(kind(**arguments))


@slow
@given(message=messages(RouteConfiguration), unknown=st.binary(min_size=1, max_size=8))
def test_unknown_fields_and_encoded_parts_keep_their_place(message: RouteConfiguration, unknown: bytes) -> None:
    message._unknown_fields = unknown
    assert encode(message) == bytes(with_sorted_maps(message)) + unknown
    whole = encode(message)
    hosts = [entry(RouteConfiguration, "virtual_hosts", encode(host)) for host in message.virtual_hosts]
    message.virtual_hosts = entries(VirtualHost, hosts)
    assert encode(message) == whole


@slow
@given(message=messages(Listener))
def test_a_packed_message_unpacks_to_itself(message: Listener) -> None:
    assert pack(message).unpack() == message
