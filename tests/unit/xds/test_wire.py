"""Protobuf to the protocol's messages and back."""

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError

from protos import discovery_pb2 as pb
from tests.unit.xds.proxies import resource
from xds import wire
from xds.protocol.messages import DeltaRequest, Node, Response, SotwRequest
from xds.snapshot import CLUSTER, SHORT_NAMES, VIRTUAL_HOST, Resource

ENVOY = pb.Node(
    id="edge-1",
    cluster="edge",
    user_agent_name="envoy",
    user_agent_build_version=pb.BuildVersion(version=pb.SemanticVersion(major_number=1, minor_number=40)),
    locality=pb.Locality(region="in", zone="a", sub_zone="1"),
    client_features=["one", "another"],
)


def test_an_envoys_node_is_read_with_its_version_and_place() -> None:
    assert wire.read_node(ENVOY) == Node(
        "edge-1", "edge", "envoy", "1.40.0", "in", "a", "1", frozenset({"one", "another"})
    )


def test_a_state_of_the_world_request_is_read() -> None:
    request = pb.DiscoveryRequest(
        node=ENVOY, type_url=CLUSTER, resource_names=["a", "b"], version_info="v", response_nonce="n"
    )
    read = wire.read_sotw(request.SerializeToString())
    assert read == SotwRequest(type_url=CLUSTER, nonce="n", node=wire.read_node(ENVOY), version="v", names=("a", "b"))


def test_an_incremental_request_is_read() -> None:
    request = pb.DeltaDiscoveryRequest(
        type_url=CLUSTER,
        resource_names_subscribe=["a"],
        resource_names_unsubscribe=["b"],
        initial_resource_versions={"c": "1"},
    )
    read = wire.read_delta(request.SerializeToString())
    assert read == DeltaRequest(type_url=CLUSTER, subscribe=("a",), unsubscribe=("b",), initial_versions={"c": "1"})


@pytest.mark.parametrize("read", [wire.read_sotw, wire.read_delta])
def test_an_error_without_a_message_is_still_an_error(read: object) -> None:
    kind = pb.DiscoveryRequest if read is wire.read_sotw else pb.DeltaDiscoveryRequest
    assert read(kind(error_detail=pb.Status()).SerializeToString()).error == ""  # type: ignore[operator]
    assert read(kind().SerializeToString()).error is None  # type: ignore[operator]


@pytest.mark.parametrize("read", [wire.read_sotw, wire.read_delta])
def test_what_is_no_request_raises(read: object) -> None:
    with pytest.raises(DecodeError):
        read(b"\xff\xff\xff")  # type: ignore[operator]


def test_a_state_of_the_world_response_is_written_with_bare_resources() -> None:
    response = Response(CLUSTER, "7", "v", (resource("a", "1"), resource("b", "2")))
    written = pb.DiscoveryResponse.FromString(wire.write_sotw(response, "replica"))
    assert (written.type_url, written.nonce, written.version_info) == (CLUSTER, "7", "v")
    assert [(each.type_url, each.value) for each in written.resources] == [(CLUSTER, b"1"), (CLUSTER, b"2")]
    assert written.control_plane.identifier == "replica"


def test_an_incremental_response_is_written_with_names_and_versions() -> None:
    a = resource("a", "1")
    response = Response(CLUSTER, "7", "v", (a,), ("gone",))
    written = pb.DeltaDiscoveryResponse.FromString(wire.write_delta(response, "replica"))
    (entry,) = written.resources
    assert (entry.name, entry.version, entry.resource.type_url, entry.resource.value) == ("a", a.version, CLUSTER, b"1")
    assert list(written.removed_resources) == ["gone"]
    assert (written.system_version_info, written.nonce) == ("v", "7")
    assert written.control_plane.identifier == "replica"


def test_a_refusal_is_shown_without_the_resource_that_envoy_repeats_in_it() -> None:
    said = (
        'Error adding/updating listener(s) l1: goo.gle/debugstr name: "l1" address { secret } '
        'Proto constraint validation failed (field: "route_specifier", reason: is required)'
    )
    assert wire.readable(said) == (
        "Error adding/updating listener(s) l1: "
        'Proto constraint validation failed (field: "route_specifier", reason: is required)'
    )


@pytest.mark.parametrize("end", ["-----END PRIVATE KEY-----", ""])
def test_a_refusal_never_shows_a_private_key(end: str) -> None:
    said = f"bad secret -----BEGIN PRIVATE KEY-----\nMIIEv{'Q' * 50}\n{end}"
    assert wire.readable(said) == "bad secret [private key]"


def test_a_long_refusal_keeps_its_beginning_and_its_end() -> None:
    shown = wire.readable("start " + "x" * 100_000 + " reason")
    assert shown.startswith("start ")
    assert shown.endswith(" reason")
    assert len(shown) < 2_100


def test_every_type_has_a_service_and_reflection_can_describe_it() -> None:
    assert wire.SERVICES.keys() == SHORT_NAMES.keys()
    wire.describe_services()
    wire.describe_services()
    for type_url, (name, methods) in wire.SERVICES.items():
        service = descriptor_pool.Default().FindServiceByName(name)
        expected = [f"Delta{methods}"] if type_url in wire.DELTA_ONLY else [f"Stream{methods}", f"Delta{methods}"]
        assert [method.name for method in service.methods] == expected


LASTING = Resource.of("a", b"1", ttl=1.5)


def test_a_ttl_and_aliases_are_written_beside_the_body() -> None:
    host = Resource.of("rc/a", b"1", aliases=["rc/x", "rc/y"], ttl=30.0)
    written = pb.DeltaDiscoveryResponse.FromString(wire.write_delta(Response(VIRTUAL_HOST, "1", "v", (host,)), "id"))
    (entry,) = written.resources
    assert (entry.name, entry.version, list(entry.aliases)) == ("rc/a", host.version, ["rc/x", "rc/y"])
    assert entry.ttl.ToTimedelta().total_seconds() == 30.0
    assert entry.resource.value == b"1"


def test_a_bare_heartbeat_has_the_version_and_the_ttl_and_no_body() -> None:
    beat = Response(CLUSTER, "1", "v", (LASTING,), heartbeat=True, bare=True)
    (entry,) = pb.DeltaDiscoveryResponse.FromString(wire.write_delta(beat, "id")).resources
    assert (entry.name, entry.version) == ("a", LASTING.version)
    assert (entry.ttl.seconds, entry.ttl.nanos) == (1, 500_000_000)
    assert not entry.HasField("resource")


def test_in_state_of_the_world_only_what_has_a_ttl_is_wrapped() -> None:
    response = Response(CLUSTER, "1", "v", (LASTING, Resource.of("b", b"2")), wrapped=True)
    first, second = pb.DiscoveryResponse.FromString(wire.write_sotw(response, "id")).resources
    wrapper = pb.Resource()
    assert first.Unpack(wrapper)
    assert first.type_url == "type.googleapis.com/envoy.service.discovery.v3.Resource"
    assert (wrapper.name, wrapper.version, wrapper.resource.value) == ("a", "v", b"1")
    assert wrapper.ttl.ToTimedelta().total_seconds() == 1.5
    assert (second.type_url, second.value) == (CLUSTER, b"2")


def test_a_host_that_nothing_bears_is_written_as_a_resource_that_is_its_own_alias_and_empty() -> None:
    response = Response(VIRTUAL_HOST, "1", "v", (), unresolved=("rc/x",))
    (entry,) = pb.DeltaDiscoveryResponse.FromString(wire.write_delta(response, "id")).resources
    assert (entry.name, list(entry.aliases), entry.HasField("resource")) == ("rc/x", ["rc/x"], False)
