"""Who runs what: the status of every proxy, from the streams themselves."""

import dataclasses

from tests.unit.xds.proxies import NODE, TYPE_URLS, DeltaProxy, Proxy, SotwProxy, snapshot
from xds.nodes import Connection, Nodes, NodeStatus, State, TypeStatus
from xds.protocol.messages import Node

CONFIGURATION = snapshot(CDS={"a": "1", "b": "1"}, LDS={"l": "1"}, RDS={"r": "1"})


def connected(nodes: Nodes, proxy: Proxy, node: Node = NODE, peer: str = "ipv4:127.0.0.1:1") -> Connection:
    proxy.publish(CONFIGURATION)
    return nodes.add(node, peer, proxy.stream)


def status_of(nodes: Nodes) -> NodeStatus:
    (status,) = nodes.status("edge")
    return status


def of_type(status: NodeStatus, short: str) -> TypeStatus:
    return next(each for each in status.types if each.type_url == TYPE_URLS[short])


def test_a_proxy_that_has_accepted_everything_is_live_and_synced() -> None:
    nodes, proxy = Nodes(), DeltaProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    proxy.ask("LDS")
    proxy.ask("RDS", "r")
    proxy.ack_all()
    status = status_of(nodes)
    assert status.live == CONFIGURATION.version
    assert {each.state for each in status.types} == {State.SYNCED}
    assert of_type(status, "CDS").version == CONFIGURATION.versions[TYPE_URLS["CDS"]]
    assert [each.name for each in of_type(status, "CDS").resources] == ["a", "b"]
    assert nodes.live("edge") == {"edge-1": CONFIGURATION.version}


def test_what_was_sent_and_not_answered_is_stale() -> None:
    nodes, proxy = Nodes(), SotwProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    assert of_type(status_of(nodes), "CDS").state is State.STALE
    assert status_of(nodes).live is None


def test_listeners_that_a_proxy_has_not_asked_for_are_not_sent_and_it_is_not_live() -> None:
    nodes, proxy = Nodes(), DeltaProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    proxy.ack_all()
    assert of_type(status_of(nodes), "LDS").state is State.NOT_SENT
    assert status_of(nodes).live is None


def test_a_refusal_tells_the_proxys_words_the_place_and_what_it_runs_instead() -> None:
    nodes, proxy = Nodes(), DeltaProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    proxy.ack_all()
    proxy.publish(snapshot(CDS={"a": "2", "b": "1"}))
    proxy.nack("CDS", "no such host")
    status = status_of(nodes)
    (refused,) = status.refused
    assert (refused.name, refused.state, refused.message) == ("a", State.REJECTED, "no such host")
    assert str(refused.origin) == "edge.yaml:1"
    assert refused.accepted != refused.version
    assert of_type(status, "CDS").state is State.REJECTED
    target = proxy.stream.target
    assert target is not None
    assert nodes.refusals("edge", target.version) == {"edge-1": (refused,)}
    assert nodes.refusals("edge", "a version that the stream has yet to take up") == {}


def test_a_refusal_of_what_is_no_longer_wanted_is_no_news() -> None:
    nodes, proxy = Nodes(), DeltaProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    proxy.ack_all()
    proxy.publish(snapshot(CDS={"a": "2", "b": "1"}))
    proxy.nack("CDS")
    back = snapshot(CDS={"a": "1", "b": "1"})
    proxy.publish(back)
    assert nodes.refusals("edge", back.version) == {}
    assert of_type(status_of(nodes), "CDS").state is State.SYNCED


def test_a_route_that_is_held_back_is_not_sent() -> None:
    nodes, proxy = Nodes(), DeltaProxy()
    connected(nodes, proxy)
    proxy.ask("CDS")
    proxy.ask("RDS", "r")
    proxy.ack_all()
    proxy.publish(snapshot(CDS={"a": "1", "b": "1", "c": "1"}, RDS={"r": "2"}, needs={"RDS r": ["CDS c"]}))
    proxy.nack("CDS")
    assert of_type(status_of(nodes), "RDS").state is State.NOT_SENT


def test_the_streams_of_a_proxy_with_one_for_each_type_count_together() -> None:
    nodes, clusters, listeners = Nodes(), DeltaProxy("CDS"), SotwProxy("LDS")
    connected(nodes, clusters, peer="one")
    connected(nodes, listeners, peer="two")
    clusters.ask("CDS")
    clusters.ack_all()
    assert status_of(nodes).live is None
    listeners.ask("LDS")
    listeners.ack_all()
    assert status_of(nodes).live == CONFIGURATION.version
    assert status_of(nodes).peers == ("one", "two")
    assert nodes.count("edge") == 1


def test_s9_of_two_streams_of_one_proxy_the_newer_speaks_and_the_older_may_hang() -> None:
    nodes, old, new = Nodes(), DeltaProxy(), DeltaProxy()
    hanging = connected(nodes, old)
    connected(nodes, new)
    for proxy in (old, new):
        proxy.ask("CDS")
        proxy.ask("LDS")
    new.ack_all()
    assert status_of(nodes).live == CONFIGURATION.version
    nodes.remove(hanging)
    assert status_of(nodes).live == CONFIGURATION.version


def test_s9_the_newer_stream_may_be_the_one_that_ends() -> None:
    nodes, old, new = Nodes(), DeltaProxy(), DeltaProxy()
    connected(nodes, old)
    ending = connected(nodes, new)
    for proxy in (old, new):
        proxy.ask("CDS")
        proxy.ask("LDS")
    old.ack_all()
    assert status_of(nodes).live is None
    nodes.remove(ending)
    assert status_of(nodes).live == CONFIGURATION.version


def test_streams_on_different_snapshots_are_live_on_none() -> None:
    nodes, clusters, listeners = Nodes(), DeltaProxy("CDS"), DeltaProxy("LDS")
    connected(nodes, clusters)
    connected(nodes, listeners)
    clusters.ask("CDS")
    listeners.ask("LDS")
    clusters.publish(snapshot(CDS={"a": "1", "b": "1"}, LDS={"l": "2"}))
    clusters.ack_all()
    listeners.ack_all()
    assert status_of(nodes).live is None


def test_groups_are_kept_apart_and_forgotten_when_empty() -> None:
    nodes = Nodes()
    one = connected(nodes, DeltaProxy())
    connected(nodes, DeltaProxy(), dataclasses.replace(NODE, cluster="other"))
    assert nodes.groups() == ["edge", "other"]
    nodes.remove(one)
    assert nodes.groups() == ["other"]
    assert nodes.status("edge") == []
    assert nodes.live("edge") == {}
