"""The publisher: who is woken, and when a version is live."""

import asyncio

from prometheus_client import CollectorRegistry

from tests.unit.xds.proxies import Joined, snapshot
from xds.metrics import XdsMetrics
from xds.protocol.messages import Node
from xds.publisher import Publisher

FIRST, SECOND = snapshot(CDS={"a": "1"}), snapshot(CDS={"a": "2"})


async def test_a_snapshot_wakes_the_streams_of_its_group_and_no_others() -> None:
    publisher = Publisher()
    edge, other = Joined(publisher), Joined(publisher, Node("other-1", "other"))
    publisher.set_snapshot("edge", FIRST)
    assert (edge.woken, other.woken) == (1, 0)
    assert publisher.snapshot("edge") is FIRST
    assert publisher.snapshot("other") is None
    assert publisher.groups() == ["edge"]


async def test_a_stream_that_has_left_is_not_woken() -> None:
    publisher = Publisher()
    joined = Joined(publisher)
    publisher.leave(joined.connection)
    publisher.set_snapshot("edge", FIRST)
    assert joined.woken == 0
    assert publisher.nodes.groups() == []


async def test_live_says_who_runs_a_version_and_who_is_behind() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    one, _two = Joined(publisher), Joined(publisher, Node("edge-2", "edge"))
    one.ack()
    liveness = publisher.live("edge", FIRST.version)
    assert (liveness.acked, liveness.behind, liveness.total) == (("edge-1",), ("edge-2",), 2)
    assert str(liveness) == "acked by 1 of 2"
    assert not liveness.complete


async def test_live_says_who_refused_what_and_why() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    joined = Joined(publisher)
    joined.proxy.nack("CDS", "bad")
    refused = publisher.live("edge", FIRST.version).refused
    assert [(node, each.name, each.message) for node, all_of in refused.items() for each in all_of] == [
        ("edge-1", "a", "bad")
    ]


async def test_waiting_ends_when_the_last_proxy_has_accepted() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    one, two = Joined(publisher), Joined(publisher, Node("edge-2", "edge"))
    waiting = asyncio.create_task(publisher.wait_live("edge", FIRST.version, within=30))
    one.ack()
    await asyncio.sleep(0)
    assert not waiting.done()
    two.ack()
    assert (await waiting).complete


async def test_waiting_includes_waiting_for_the_expected_proxies_to_connect() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    waiting = asyncio.create_task(publisher.wait_live("edge", FIRST.version, expected=2, within=30))
    Joined(publisher).ack()
    await asyncio.sleep(0)
    assert not waiting.done()
    Joined(publisher, Node("edge-2", "edge")).ack()
    assert (await waiting).total == 2


async def test_waiting_ends_early_when_a_proxy_refuses() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    joined = Joined(publisher)
    waiting = asyncio.create_task(publisher.wait_live("edge", FIRST.version, within=30))
    await asyncio.sleep(0)
    joined.proxy.nack("CDS", "bad")
    publisher.changed()
    liveness = await waiting
    assert not liveness.complete
    assert list(liveness.refused) == ["edge-1"]


async def test_waiting_for_the_mended_version_does_not_end_with_the_refusal_of_the_broken_one() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    joined = Joined(publisher)
    joined.proxy.nack("CDS", "bad")
    publisher.set_snapshot("edge", SECOND)
    waiting = asyncio.create_task(publisher.wait_live("edge", SECOND.version, within=30))
    await asyncio.sleep(0)
    assert not waiting.done()
    joined.follow()
    assert (await waiting).complete


async def test_waiting_ends_early_when_another_version_takes_the_place() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    Joined(publisher)
    waiting = asyncio.create_task(publisher.wait_live("edge", FIRST.version, within=30))
    await asyncio.sleep(0)
    publisher.set_snapshot("edge", SECOND)
    assert not (await waiting).current


async def test_waiting_ends_in_any_case() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    Joined(publisher)
    liveness = await publisher.wait_live("edge", FIRST.version, within=0.01)
    assert (liveness.acked, liveness.behind) == ((), ("edge-1",))


async def test_nobody_connected_is_complete_but_not_what_was_expected() -> None:
    publisher = Publisher()
    publisher.set_snapshot("edge", FIRST)
    assert publisher.live("edge", FIRST.version).complete
    assert (await publisher.wait_live("edge", FIRST.version, within=0.01)).total == 0
    assert (await publisher.wait_live("edge", FIRST.version, expected=0, within=30)).complete


async def test_an_observer_hears_of_what_was_published_before_and_after_it_came() -> None:
    publisher, registry = Publisher(), CollectorRegistry()
    publisher.set_snapshot("edge", FIRST)
    publisher.observe(XdsMetrics(registry).published)
    publisher.set_snapshot("edge", snapshot(CDS={"a": "22", "b": "333"}))
    labels = {"group": "edge", "type": "CDS"}
    assert registry.get_sample_value("apibank_xds_snapshots_total", {"group": "edge"}) == 2
    assert registry.get_sample_value("apibank_xds_resources", labels) == 2
    assert registry.get_sample_value("apibank_xds_resource_bytes", labels) == 5
