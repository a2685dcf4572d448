"""What a stream may cost: how long, how much, whose turn it is, and what is counted of it."""

import asyncio

from tests.unit.xds.clients import CLUSTERS, Client, published
from tests.unit.xds.proxies import NODE, TYPE_URLS, resource, show, snapshot
from xds.admission import ServerLimits
from xds.conversation import Ended
from xds.metrics import XdsMetrics
from xds.protocol.messages import Node
from xds.publisher import Publisher
from xds.snapshot import Snapshot
from xds.turns import Turns


async def ended(client: Client) -> Ended:
    async with asyncio.timeout(5):
        return await client.task


async def settle() -> None:
    """Let everybody do what there is to do."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_stream_on_which_no_request_comes_ends() -> None:
    client = Client(published(snapshot(CDS={"a": "1"})), limits=ServerLimits(first_request_seconds=0.01))
    await settle()
    client.now = 1.0
    assert (await ended(client)).status == "DEADLINE_EXCEEDED"
    assert client.metric("silent_streams_total") == 1
    assert client.responses == []


async def test_who_has_said_its_name_may_be_silent_for_ever() -> None:
    client = Client(published(snapshot(CDS={"a": "1"})), limits=ServerLimits(first_request_seconds=10))
    client.send()
    await client.shown(1)
    client.now = 1e6
    client.conversation.supply(())
    await settle()
    assert not client.task.done()
    client.hang_up()
    await ended(client)


async def test_a_stream_of_full_age_ends_cleanly() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    client = Client(publisher, age=0.01)
    client.send()
    await client.shown(1)
    client.now = 5.0
    assert await ended(client) == Ended("OK")
    assert client.metric("aged_streams_total") == 1
    assert publisher.nodes.groups() == []


async def test_a_client_that_takes_nothing_for_too_long_is_no_proxy_any_more() -> None:
    publisher = published(snapshot(CDS={"a": "1", "b": "1"}))
    client = Client(publisher, limits=ServerLimits(write_seconds=0.01))
    client.blocked.clear()
    client.send()
    await client.until("stalled_streams_total", 1)
    assert publisher.nodes.groups() == []
    assert client.metric("streams", group="edge", dialect="delta") == 0
    client.blocked.set()
    assert (await ended(client)).status == "DEADLINE_EXCEEDED"
    assert len(client.responses) == 1
    assert client.metric("denied_streams_total", status="DEADLINE_EXCEEDED") == 1


async def test_a_client_that_asks_for_more_names_than_anybody_needs_is_refused() -> None:
    client = Client(published(snapshot(RDS={"a": "1"})), limits=ServerLimits(max_names=100))
    client.send(type_url=TYPE_URLS["RDS"], subscribe=tuple(f"r{number}" for number in range(100)))
    await client.shown(1)
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("one more",))
    assert (await ended(client)).status == "RESOURCE_EXHAUSTED"


async def test_a_client_whose_names_are_longer_than_anybodys_is_refused() -> None:
    client = Client(published(snapshot(RDS={"a": "1"})), limits=ServerLimits(max_names_length=100))
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("x" * 60, "y" * 40))
    await client.shown(1)
    # What it lets go makes room.
    client.send(type_url=TYPE_URLS["RDS"], unsubscribe=("x" * 60,))
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("y" * 40, "z" * 60))
    await client.shown(2)
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("w",))
    assert (await ended(client)).status == "RESOURCE_EXHAUSTED"


async def test_a_change_waits_for_its_turn_and_later_ones_merge_into_it() -> None:
    publisher, turns = published(snapshot(CDS={"a": "0"})), Turns(1)
    client = Client(publisher, turns=turns)
    client.send()
    await client.shown(1)
    taken = turns.ask(lambda: None)
    for text in "123":
        publisher.set_snapshot("edge", snapshot(CDS={"a": text}))
        await settle()
    assert len(client.responses) == 1
    turns.give_back(taken)
    assert await client.shown(2) == ["CDS a@0", "CDS a@3"]
    await settle()
    assert turns.ask(lambda: None).granted
    client.hang_up()
    await ended(client)


async def test_requests_are_answered_while_a_change_waits_for_its_turn() -> None:
    publisher, turns = published(snapshot(CDS={"a": "1"}, RDS={"r": "1"})), Turns(1)
    client = Client(publisher, turns=turns)
    client.send()
    await client.shown(1)
    turns.ask(lambda: None)
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}, RDS={"r": "1"}))
    await settle()
    client.send(type_url=TYPE_URLS["RDS"], subscribe=("r",))
    assert await client.shown(2) == ["CDS a@1", "RDS r@1"]
    client.task.cancel()
    await asyncio.gather(client.task, return_exceptions=True)


async def test_the_first_answer_waits_for_nobodys_turn() -> None:
    turns = Turns(1)
    turns.ask(lambda: None)
    client = Client(published(snapshot(CDS={"a": "1"})), turns=turns)
    client.send()
    client.hang_up()
    assert await client.shown(1) == ["CDS a@1"]
    assert await ended(client) == Ended("OK")


async def test_who_leaves_while_waiting_leaves_its_turn_to_others() -> None:
    publisher, turns = published(snapshot(CDS={"a": "1"})), Turns(1)
    client = Client(publisher, turns=turns)
    client.send()
    await client.shown(1)
    taken = turns.ask(lambda: None)
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}))
    await settle()
    client.conversation.close()
    assert await ended(client) == Ended("OK")
    turns.give_back(taken)
    assert turns.ask(lambda: None).granted


async def test_a_client_that_does_not_read_gives_its_turn_back_after_a_while() -> None:
    publisher, turns = published(snapshot(CDS={"a": "1"})), Turns(1)
    stuck, other = Client(publisher, turns=turns), Client(publisher, turns=turns, node=Node("edge-2", "edge"))
    for client in (stuck, other):
        client.send()
        await client.shown(1)
    stuck.blocked.clear()
    publisher.set_snapshot("edge", snapshot(CDS={"a": "2"}))
    assert await other.shown(2) == ["CDS a@1", "CDS a@2"]
    assert len(stuck.responses) == 1
    for client in (stuck, other):
        client.task.cancel()
    await asyncio.gather(stuck.task, other.task, return_exceptions=True)


async def test_a_client_that_never_stops_asking_lets_others_have_their_turn() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    endless, other = Client(publisher), Client(publisher, node=Node("edge-2", "edge"))
    for _ in range(1000):
        endless.send(subscribe=("a",))
    other.send()
    assert await other.shown(1) == ["CDS a@1"]
    assert len(endless.responses) < 100
    for client in (endless, other):
        client.task.cancel()
    await asyncio.gather(endless.task, other.task, return_exceptions=True)


async def test_a_client_that_refuses_in_a_loop_is_not_sent_the_same_again() -> None:
    client = Client(published(snapshot(CDS={"a": "1"})))
    client.send()
    await client.shown(1)
    for _ in range(200):
        client.send(nonce=client.responses[0].nonce, error="no")
    while not client.requests.empty():
        await asyncio.sleep(0)
    await settle()
    assert [show(response) for response in client.responses] == ["CDS a@1"]
    assert client.metric("nacks_total", type="CDS") == 1
    client.hang_up()
    await ended(client)


async def test_a_node_of_a_canary_is_sent_the_candidate_and_the_others_are_not() -> None:
    publisher = published(snapshot(CDS={"a": "1"}))
    clients = {name: Client(publisher, node=Node(name, "edge")) for name in ("edge-1", "edge-2")}
    for client in clients.values():
        client.send()
        await client.shown(1)
    chosen = publisher.set_canary("edge", snapshot(CDS={"a": "2"}), 50).nodes
    await settle()
    assert len(chosen) == 1
    for name, client in clients.items():
        assert show(client.responses[-1]) == ("CDS a@2" if name in chosen else "CDS a@1")
        client.hang_up()
        await ended(client)


async def test_a_change_is_timed_on_its_way_to_the_client_and_what_a_client_had_before_is_not() -> None:
    publisher = published(first := snapshot(CDS={"a": "1"}))
    client = Client(publisher)
    metrics: XdsMetrics = client.conversation._metrics
    metrics.change_saved("edge", first.version, at=-100.0)
    client.send()
    await client.shown(1)
    client.send(nonce=client.responses[0].nonce)
    second = snapshot(CDS={"a": "2"})
    metrics.change_saved("edge", second.version, at=-1.0)
    publisher.set_snapshot("edge", second)
    await client.shown(2)
    assert client.metric("change_sent_seconds_sum", group="edge") == 1.0
    assert client.metric("change_acked_seconds_count", group="edge") is None
    client.now = 2.0
    client.send(nonce=client.responses[1].nonce)
    await client.until("change_acked_seconds_count", 1, group="edge")
    assert client.metric("change_acked_seconds_sum", group="edge") == 3.0
    assert client.metric("change_sent_seconds_count", group="edge") == 1
    client.hang_up()
    await ended(client)


async def test_a_proxy_that_took_a_cluster_on_one_stream_is_sent_its_endpoints_on_another() -> None:
    def with_clusters(text: str) -> Snapshot:
        cluster = resource("c", text, needs=["EDS e"])
        return Snapshot.of([(CLUSTERS, cluster), (TYPE_URLS["EDS"], resource("e", "1"))])

    publisher = Publisher()
    publisher.set_snapshot("edge", with_clusters("1"))
    clusters, endpoints = Client(publisher, only=CLUSTERS), Client(publisher, only=TYPE_URLS["EDS"])
    clusters.send()
    endpoints.send(type_url=TYPE_URLS["EDS"], subscribe=("e",))
    await clusters.shown(1)
    await endpoints.shown(1)
    clusters.send(nonce=clusters.responses[0].nonce)
    publisher.set_snapshot("edge", with_clusters("2"))
    await clusters.shown(2)
    clusters.supplied.clear()
    clusters.send(nonce=clusters.responses[1].nonce)
    await clusters.until("acks_total", 2, type="CDS")
    assert clusters.supplied == [("e",)]
    endpoints.conversation.supply(clusters.supplied[0])
    assert await endpoints.shown(2) == ["EDS e@1", "EDS e@1"]
    for client in (clusters, endpoints):
        assert client.node == NODE
        client.hang_up()
        await ended(client)
