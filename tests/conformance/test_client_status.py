"""The client status over real gRPC: every status, which nodes, what is left out, and who may ask."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import csds_pb2 as pb
from protos import csds_pb2_grpc as pb_grpc
from protos import discovery_pb2
from tests.conformance.authority import Authority
from tests.conformance.clients import TYPE_URLS, Client, Target
from xds.publisher import Publisher
from xds.server import RunningServer, serve
from xds.snapshot import Resource, Snapshot

Generic = pb.ClientConfig.GenericXdsConfig
SERVICE = "envoy.service.status.v3.ClientStatusDiscoveryService"


@pytest.fixture
def status(channel: grpc.aio.Channel) -> Any:
    """The service's stub."""
    return pb_grpc.ClientStatusDiscoveryServiceStub(channel)


async def fetched(stub: Any, question: pb.ClientStatusRequest) -> Any:
    return await stub.FetchClientStatus(question)


async def streamed(stub: Any, question: pb.ClientStatusRequest) -> Any:
    call = stub.StreamClientStatus()
    # Who is refused at once may be told so before the question is out.
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await call.write(question)
    answer = await call.read()
    call.cancel()
    return answer


async def resources(status: Any, **fields: Any) -> dict[str, Any]:
    """By "TYPE name": what is said of the only proxy, as soon as it is connected."""
    async with asyncio.timeout(5):
        while not (answer := await status.FetchClientStatus(pb.ClientStatusRequest(**fields))).config:
            await asyncio.sleep(0.01)
    (config,) = answer.config
    assert (config.node.id, config.node.cluster) == ("edge-1", "edge")
    shorts = {type_url: short for short, type_url in TYPE_URLS.items()}
    return {f"{shorts[each.type_url]} {each.name}": each for each in config.generic_xds_configs}


async def said(status: Any, unit: str, expected: tuple[int, int]) -> Any:
    """Wait until the unit has this config status and client status."""
    async with asyncio.timeout(5):
        while True:
            found = (await resources(status)).get(unit)
            if found is not None and (found.config_status, found.client_status) == expected:
                return found
            await asyncio.sleep(0.01)


SYNCED = pb.SYNCED, Generic.ACKED
NOT_SENT = pb.NOT_SENT, Generic.REQUESTED
ABSENT = pb.NOT_SENT, Generic.DOES_NOT_EXIST
STALE = pb.STALE, Generic.REQUESTED
STALE_BUT_RUNNING = pb.STALE, Generic.ACKED
ERROR = pb.ERROR, Generic.NACKED
VARIANTS = pytest.mark.parametrize("variant", ["delta, ADS", "delta, separate", "sotw, ADS", "sotw, separate"])


@VARIANTS
async def test_synced_is_what_the_proxy_has_accepted(
    connect: Callable[[str], Client], target: Target, status: Any, variant: str
) -> None:
    target.set("CDS", A="v1")
    client = connect(variant)
    await client.subscribe("CDS")
    await client.next("CDS")
    found = await said(status, "CDS A", SYNCED)
    version = Resource.of("A", b"A@v1").version
    assert (found.version_info, found.xds_config.value, found.xds_config.type_url) == (
        version,
        b"A@v1",
        TYPE_URLS["CDS"],
    )
    assert found.HasField("last_updated")
    assert not found.HasField("error_state")


@VARIANTS
async def test_not_sent_is_what_the_proxy_has_not_asked_for_although_it_needs_it(
    connect: Callable[[str], Client], target: Target, status: Any, variant: str
) -> None:
    target.set("CDS", A="v1")
    target.set("LDS", L="v1")
    client = connect(variant)
    await client.subscribe("CDS")
    await said(status, "CDS A", SYNCED)
    await said(status, "LDS L", NOT_SENT)


@VARIANTS
async def test_a_name_that_nothing_bears_does_not_exist_until_something_does(
    connect: Callable[[str], Client], target: Target, status: Any, variant: str
) -> None:
    target.set("EDS", A="v1")
    client = connect(variant)
    await client.subscribe("EDS", "A", "B")
    await said(status, "EDS B", ABSENT)
    await said(status, "EDS A", SYNCED)
    target.set("EDS", B="v1")
    await said(status, "EDS B", SYNCED)


async def test_a_name_is_asked_for_as_long_as_the_group_has_nothing(
    connect: Callable[[str], Client], target: Target, status: Any
) -> None:
    await connect("delta, ADS").subscribe("EDS", "A")
    await said(status, "EDS A", NOT_SENT)


async def test_stale_is_what_was_sent_and_not_answered(channel: grpc.aio.Channel, target: Target, status: Any) -> None:
    target.set("CDS", A="v1")
    call = discovery(channel)
    await call.write(first := discovery_pb2.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["CDS"]))
    sent = await call.read()
    found = await said(status, "CDS A", STALE)
    assert found.version_info == sent.resources[0].version
    await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=first.type_url, response_nonce=sent.nonce))
    await said(status, "CDS A", SYNCED)
    target.set("CDS", A="v2")
    await call.read()
    found = await said(status, "CDS A", STALE_BUT_RUNNING)
    assert found.xds_config.value == b"A@v2"
    call.cancel()


@VARIANTS
async def test_error_is_what_the_proxy_refuses_in_its_own_words(
    connect: Callable[[str], Client], target: Target, status: Any, variant: str
) -> None:
    target.set("CDS", A="v1")
    client = connect(variant)
    await client.subscribe("CDS")
    accepted = await said(status, "CDS A", SYNCED)
    client.error = "Error adding/updating cluster(s) A: no such thing"
    target.set("CDS", A="v2")
    found = await said(status, "CDS A", ERROR)
    assert found.version_info == accepted.version_info
    assert found.error_state.details == client.error
    assert found.error_state.version_info == Resource.of("A", b"A@v2").version
    client.error = None
    target.set("CDS", A="v3")
    found = await said(status, "CDS A", SYNCED)
    assert not found.HasField("error_state")


@pytest.mark.parametrize(
    ("matchers", "found"),
    [
        ([], {"one", "two", "edge-1"}),
        ([{}], {"one", "two", "edge-1"}),
        ([{"exact": "one"}], {"one"}),
        ([{"exact": "one"}, {"prefix": "ed"}], {"one", "edge-1"}),
        ([{"exact": "ONE"}, {"suffix": "-1"}], {"edge-1"}),
        ([{"exact": "ONE", "ignore_case": True}], {"one"}),
        ([{"contains": "dge"}], {"edge-1"}),
        ([{"safe_regex": {"regex": "(one|t.o)"}}], {"one", "two"}),
        ([{"safe_regex": {"regex": "on"}}], set()),
        ([{"exact": "nobody"}], set()),
    ],
)
async def test_a_node_is_shown_if_any_of_the_matchers_matches_it(
    channel: grpc.aio.Channel, target: Target, status: Any, matchers: list[dict[str, Any]], found: set[str]
) -> None:
    target.set("CDS", A="v1")
    calls = [await joined(channel, node_id) for node_id in ("one", "two", "edge-1")]
    question = pb.ClientStatusRequest()
    for matcher in matchers:
        question.node_matchers.add(node_id=pb.StringMatcher(**matcher) if matcher else None)
    answer = await status.FetchClientStatus(question)
    assert {config.node.id for config in answer.config} == found
    for call in calls:
        call.cancel()


@pytest.mark.parametrize(
    ("matcher", "says"),
    [
        (pb.NodeMatcher(node_metadatas=[pb.StructMatcher()]), "metadata of nodes are not kept"),
        (pb.NodeMatcher(node_id=pb.StringMatcher()), "expected one of exact, prefix"),
        (pb.NodeMatcher(node_id=pb.StringMatcher(prefix="")), "prefix is empty"),
        (pb.NodeMatcher(node_id=pb.StringMatcher(safe_regex=pb.RegexMatcher(regex="("))), "none that RE2 takes"),
        (pb.NodeMatcher(node_id=pb.StringMatcher(safe_regex=pb.RegexMatcher(regex=r"(a)\1"))), "none that RE2 takes"),
        (pb.NodeMatcher(node_id=pb.StringMatcher(safe_regex=pb.RegexMatcher())), "0 characters"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused_with_the_field(
    status: Any, matcher: Any, says: str
) -> None:
    question = pb.ClientStatusRequest(node_matchers=[pb.NodeMatcher(), matcher])
    for ask in (fetched, streamed):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(status, question)
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (raised.value.details() or "").startswith("node_matchers[1].node_")
        assert says in (raised.value.details() or "")


async def test_what_is_no_question_is_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(f"/{SERVICE}/FetchClientStatus")(b"\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_its_health_and_its_description_are_there_to_be_asked_for(channel: grpc.aio.Channel) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
    call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([question]))
    assert (await call.read()).file_descriptor_response.file_descriptor_proto


async def test_each_request_on_a_stream_gets_the_answer_of_its_moment(
    connect: Callable[[str], Client], target: Target, status: Any
) -> None:
    target.set("CDS", A="v1")
    call = status.StreamClientStatus()
    await call.write(pb.ClientStatusRequest())
    assert not (await call.read()).config
    await connect("delta, ADS").subscribe("CDS")
    await said(status, "CDS A", SYNCED)
    await call.write(pb.ClientStatusRequest())
    assert [config.node.id for config in (await call.read()).config] == ["edge-1"]
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_contents_are_left_out_on_request(connect: Callable[[str], Client], target: Target, status: Any) -> None:
    target.set("CDS", A="v1")
    client = connect("delta, ADS")
    await client.subscribe("CDS")
    with_contents = await said(status, "CDS A", SYNCED)
    without = (await resources(status, exclude_resource_contents=True))["CDS A"]
    assert not without.HasField("xds_config")
    assert without.version_info == with_contents.version_info
    client.error = "no"
    target.set("CDS", A="v2")
    await said(status, "CDS A", ERROR)
    assert not (await resources(status, exclude_resource_contents=True))["CDS A"].error_state.HasField(
        "failed_configuration"
    )


async def test_an_answer_that_would_be_too_large_says_what_to_do(
    connect: Callable[[str], Client], target: Target, status: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.set("CDS", A="v" * 2_000)
    await connect("delta, ADS").subscribe("CDS")
    await said(status, "CDS A", SYNCED)
    monkeypatch.setattr("xds.client_status.server.MAX_ANSWER_BYTES", 2_000)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await resources(status)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "exclude_resource_contents" in (raised.value.details() or "")
    assert await resources(status, exclude_resource_contents=True)
    # Without contents too many names are too large as well.
    monkeypatch.setattr("xds.client_status.server.MAX_ANSWER_BYTES", 200)
    with pytest.raises(grpc.aio.AioRpcError):
        await resources(status, exclude_resource_contents=True)


KEY = b"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----"


async def test_no_secret_and_no_key_is_ever_shown(
    channel: grpc.aio.Channel, server: tuple[Publisher, RunningServer], status: Any
) -> None:
    bodies = {"SDS": b"even a harmless one", "CDS": b"inline: " + KEY, "LDS": b"harmless"}
    server[0].set_snapshot(
        "edge", Snapshot.of((TYPE_URLS[short], Resource.of("A", body)) for short, body in bodies.items())
    )
    call = discovery(channel)
    for short in bodies:
        request = discovery_pb2.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS[short])
        request.resource_names_subscribe.append("A")
        await call.write(request)
        assert (await call.read()).resources
    found = await resources(status)
    assert {unit: each.xds_config.value for unit, each in found.items()} == {
        "SDS A": b"",
        "CDS A": b"",
        "LDS A": b"harmless",
    }
    answer = await status.FetchClientStatus(pb.ClientStatusRequest())
    assert b"PRIVATE KEY" not in answer.SerializeToString()
    call.cancel()


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        ("spiffe://apibank.test/operator", True),
        ("spiffe://apibank.test/gateway/edge", False),
        ("spiffe://apibank.test/gateway/edge/operator", False),
        ("spiffe://elsewhere.test/operator", False),
    ],
)
async def test_over_tls_only_an_operator_gets_answers(identity: str, allowed: bool) -> None:
    authority = Authority()
    credentials = grpc.ssl_server_credentials([authority.issue("localhost")], authority.certificate, True)
    running = await serve(
        Publisher(), "localhost:0", identifier="r", credentials=credentials, trust_domain="apibank.test"
    )
    key, chain = authority.issue(identity)
    secured = grpc.ssl_channel_credentials(authority.certificate, key, chain)
    async with grpc.aio.secure_channel(f"localhost:{running.port}", secured) as channel:
        stub = pb_grpc.ClientStatusDiscoveryServiceStub(channel)
        for ask in (fetched, streamed):
            if allowed:
                assert not (await ask(stub, pb.ClientStatusRequest())).config
            else:
                with pytest.raises(grpc.aio.AioRpcError) as raised:
                    await ask(stub, pb.ClientStatusRequest())
                assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    await running.stop(0)


NODE = discovery_pb2.Node(id="edge-1", cluster="edge")


def discovery(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
    )()


async def joined(channel: grpc.aio.Channel, node_id: str) -> Any:
    call = discovery(channel)
    node = discovery_pb2.Node(id=node_id, cluster="edge")
    await call.write(discovery_pb2.DeltaDiscoveryRequest(node=node, type_url=TYPE_URLS["CDS"]))
    await call.read()
    return call
