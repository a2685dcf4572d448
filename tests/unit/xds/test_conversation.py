"""The life of a stream: what is answered first, what is merged, and how it ends."""

import asyncio
from collections.abc import AsyncIterator

import structlog

from tests.unit.xds.clients import CLUSTERS, Client, published
from tests.unit.xds.proxies import TYPE_URLS, show, snapshot
from xds.conversation import Ended
from xds.protocol.messages import DeltaRequest, Node
from xds.publisher import Publisher
from xds.snapshot import Resource, Snapshot


async def test_a_request_is_answered_from_the_groups_snapshot_and_changes_follow() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    client = Client(publisher)
    client.send()
    assert await client.shown(1) == ["CDS a@1"]
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}))
    assert await client.shown(2) == ["CDS a@1", "CDS a@2"]
    client.hang_up()
    assert await client.task == Ended("OK")


async def test_s10_a_client_of_a_group_without_a_snapshot_waits_for_it() -> None:
    publisher = Publisher()
    client = Client(publisher)
    client.send()
    await asyncio.sleep(0.01)
    assert client.responses == []
    publisher.set_snapshot("other", snapshot(CDS={"b": "1"}))
    publisher.set_snapshot("edge", snapshot(CDS={"a": "1"}))
    assert await client.shown(1) == ["CDS a@1"]
    client.hang_up()
    await client.task


async def test_of_many_changes_a_slow_client_gets_only_the_last() -> None:
    publisher = published(snapshot(CDS={"a": "0"}))
    client = Client(publisher)
    client.send()
    await client.shown(1)
    client.blocked.clear()
    for text in "123456789":
        publisher.set_snapshot("edge", snapshot(CDS={"a": text}))
        await asyncio.sleep(0)
    client.blocked.set()
    assert (await client.shown(3))[-1] == "CDS a@9"
    await asyncio.sleep(0.01)
    assert len(client.responses) == 3
    client.hang_up()
    await client.task


async def test_a_client_that_never_reads_holds_up_nobody_else() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    stuck, other = Client(publisher), Client(publisher)
    stuck.blocked.clear()
    stuck.send()
    other.send()
    assert await other.shown(1) == ["CDS a@1"]
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}))
    assert await other.shown(2) == ["CDS a@1", "CDS a@2"]
    stuck.task.cancel()
    other.hang_up()
    await asyncio.gather(stuck.task, other.task, return_exceptions=True)
    assert publisher.nodes.groups() == []


async def test_a_client_that_half_closes_after_asking_is_answered() -> None:
    client = Client(published(snapshot(CDS={"a": "1"})))
    client.send()
    client.hang_up()
    assert await client.task == Ended("OK")
    assert [show(response) for response in client.responses] == ["CDS a@1"]


async def test_a_broken_rule_ends_the_stream_and_says_which() -> None:
    client = Client(published(snapshot(CDS={"a": "1"})))
    client.send(node=None)
    ended = await client.task
    assert ended.status == "INVALID_ARGUMENT"
    assert "node" in ended.reason


async def test_a_node_that_is_not_admitted_gets_nothing_at_all() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    client = Client(publisher, admit="not this node's")
    client.send()
    assert await client.task == Ended("PERMISSION_DENIED", "not this node's")
    assert client.responses == []
    assert publisher.nodes.groups() == []


async def test_closing_ends_the_stream_cleanly() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    client = Client(publisher)
    client.send()
    await client.shown(1)
    client.conversation.close()
    assert await client.task == Ended("OK")
    assert publisher.nodes.groups() == []


async def test_a_client_is_sent_nothing_that_it_could_not_receive() -> None:
    client = Client(published(snapshot(CDS={"big": "x" * 5_000, "small": "1"})), limit=4_000)
    client.send()
    assert await client.shown(1) == ["CDS small@1"]
    assert client.metric("oversized_total", type="CDS") == 1
    client.hang_up()
    await client.task


async def test_what_is_waited_for_too_long_goes_out_when_its_time_comes() -> None:
    publisher = published(snapshot(CDS={"a": "1"}, RDS={"r": "1"}))
    client = Client(publisher)
    client.send()
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("r",))
    await client.shown(2)
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}, RDS={"r": "2"}))
    assert (await client.shown(3))[-1] == "CDS a@2"
    client.now = 100.0
    client.send(type_url=TYPE_URLS["SDS"])
    assert (await client.shown(4))[-1] == "RDS r@2"
    assert client.metric("gate_expirations_total", type="CDS") == 1
    client.hang_up()
    await client.task


async def test_the_figures_of_a_stream() -> None:
    publisher = published(snapshot(CDS={"a": "1", "b": "1"}))
    client = Client(publisher)
    client.send()
    await client.shown(2)
    first, second = client.responses
    client.send(nonce=first.nonce)
    client.send(nonce=second.nonce, error="no")
    client.send(nonce="never sent")
    client.send(type_url="type.googleapis.com/x.Y")
    async with asyncio.timeout(5):
        while not client.metric("unknown_types_total"):
            await asyncio.sleep(0)
    assert client.metric("pushes_total", type="CDS") == 2
    assert client.metric("pushed_bytes_total", type="CDS") == 2
    assert client.metric("acks_total", type="CDS") == 1
    assert client.metric("nacks_total", type="CDS") == 1
    assert client.metric("stale_nonces_total", type="CDS") == 1
    assert client.metric("push_ack_seconds_count", type="CDS") == 1
    assert client.metric("streams", group="edge", dialect="delta") == 1
    assert client.metric("connected_nodes", group="edge") == 1
    client.hang_up()
    await client.task
    assert client.metric("streams", group="edge", dialect="delta") == 0
    assert client.metric("connected_nodes", group="edge") == 0


async def test_a_heartbeat_is_counted_apart_and_its_refusal_is_no_refusal_of_the_configuration() -> None:
    publisher = published(Snapshot.of([(CLUSTERS, Resource.of("a", b"1", ttl=30.0))]))
    client = Client(publisher)
    client.send()
    await client.shown(1)
    client.send(nonce=client.responses[0].nonce)
    await client.until("acks_total", 1, type="CDS")
    for number, error in enumerate((None, "never had it"), start=1):
        client.now += 10.0
        client.send()
        await client.shown(number + 1)
        assert client.responses[-1].heartbeat
        with structlog.testing.capture_logs() as logs:
            client.send(nonce=client.responses[-1].nonce, error=error)
            if error is not None:
                await client.until("refused_heartbeats_total", 1, type="CDS")
    # It lacks the resource, and is sent it.
    assert (await client.shown(4))[-1] == "CDS a@1"
    assert not client.responses[-1].heartbeat
    assert [(log["event"], log["resources"], log["message"]) for log in logs] == [
        ("heartbeat_refused", ["a"], "never had it")
    ]
    assert client.metric("heartbeats_total", type="CDS") == 2
    await client.until("pushes_total", 2, type="CDS")
    assert client.metric("acks_total", type="CDS") == 1
    assert client.metric("nacks_total", type="CDS") == 0
    assert client.metric("push_ack_seconds_count", type="CDS") == 1
    assert client.metric("pushed_bytes_total", type="CDS") == 2
    client.hang_up()
    await client.task


async def test_what_is_no_request_ends_the_stream_after_what_came_before_is_answered() -> None:
    async def breaking() -> AsyncIterator[DeltaRequest]:
        yield DeltaRequest(node=Node("edge-1", "edge"), type_url=CLUSTERS)
        raise ValueError("not protobuf")

    publisher = published(snapshot(CDS={"a": "1"}))
    client = Client(publisher)
    client.task.cancel()
    ended = await client.conversation.run(breaking(), client._write)
    assert ended.status == "INVALID_ARGUMENT"
    assert [show(response) for response in client.responses] == ["CDS a@1"]
