"""XDS.md O2 and S9: several streams of one proxy."""

import pytest

from tests.unit.xds.proxies import DeltaProxy, Proxy, SotwProxy, show, snapshot
from xds.protocol.messages import Acked, ClustersTaken

BOTH = pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
NEEDS = {"CDS a": ["EDS members-of-a"]}
FIRST = snapshot(CDS={"a": "1", "b": "1"}, EDS={"members-of-a": "1", "b": "1"}, needs=NEEDS)
SECOND = snapshot(CDS={"a": "2", "b": "1"}, EDS={"members-of-a": "1", "b": "1"}, needs=NEEDS)


def running(proxy: Proxy, short: str, *names: str) -> Proxy:
    proxy.publish(FIRST)
    proxy.ask(short, *names)
    proxy.ack_all()
    proxy.events()
    return proxy


@BOTH
def test_o2_a_changed_cluster_accepted_on_its_own_stream_has_its_endpoints_sent_again_on_theirs(
    kind: type[DeltaProxy] | type[SotwProxy],
) -> None:
    clusters = running(kind(only="CDS"), "CDS")
    endpoints = running(kind(only="EDS"), "EDS", "members-of-a", "b")
    clusters.publish(SECOND)
    assert endpoints.publish(SECOND) == []
    clusters.ack_all()
    accepted, taken = (event for event in clusters.events())
    if isinstance(accepted, ClustersTaken):
        accepted, taken = taken, accepted
    assert isinstance(accepted, Acked)
    assert taken == ClustersTaken(("members-of-a",))
    assert [show(each) for each in endpoints.stream.supplied(("members-of-a",), 0.0)] == ["EDS members-of-a@1"]


@BOTH
def test_o2_an_unchanged_cluster_and_a_refused_one_ask_for_nothing(kind: type[DeltaProxy] | type[SotwProxy]) -> None:
    clusters = running(kind(only="CDS"), "CDS")
    clusters.publish(SECOND)
    clusters.nack("CDS")
    assert not [event for event in clusters.events() if isinstance(event, ClustersTaken)]
    again = snapshot(CDS={"a": "1", "b": "1", "c": "1"}, needs=NEEDS)
    clusters.publish(again)
    clusters.ack_all()
    taken = [event for event in clusters.events() if isinstance(event, ClustersTaken)]
    assert taken == [ClustersTaken(("c",))]


def test_o2_an_aggregated_stream_sees_to_it_alone() -> None:
    proxy = running(DeltaProxy(), "CDS")
    proxy.publish(SECOND)
    proxy.ack_all()
    assert not [event for event in proxy.events() if isinstance(event, ClustersTaken)]


@BOTH
def test_o2_endpoints_that_the_proxy_never_asked_for_or_that_are_not_there_are_not_sent(
    kind: type[DeltaProxy] | type[SotwProxy],
) -> None:
    endpoints = running(kind(only="EDS"), "EDS", "b")
    assert endpoints.stream.supplied(("members-of-a", "nothing"), 0.0) == []
    assert running(kind(only="CDS"), "CDS").stream.supplied(("b",), 0.0) == []
    assert kind(only="EDS").stream.supplied(("b",), 0.0) == []


@BOTH
def test_s9_two_streams_of_one_node_are_served_alike_and_share_nothing(
    kind: type[DeltaProxy] | type[SotwProxy],
) -> None:
    old, new = running(kind(), "CDS"), kind()
    new.publish(FIRST)
    new.ask("CDS")
    assert {each.name for response in new.responses for each in response.resources} == {"a", "b"}
    assert old.stream.live
    assert not new.stream.live
    assert old.publish(SECOND)
    old.nack("CDS")
    new.ack_all()
    assert new.stream.live
    assert not old.stream.live


@BOTH
def test_srds_is_a_wildcard_on_each_of_its_streams(kind: type[DeltaProxy] | type[SotwProxy]) -> None:
    offered = snapshot(SRDS={"one": "1", "two": "1"})
    for proxy in (kind(), kind(only="SRDS"), kind(only="SRDS")):
        proxy.publish(offered)
        proxy.ask("SRDS")
        assert {each.name for response in proxy.responses for each in response.resources} == {"one", "two"}


@BOTH
@pytest.mark.parametrize("short", ["RTDS", "ECDS"])
def test_a_layer_or_extension_comes_by_its_name_alone(short: str, kind: type[DeltaProxy] | type[SotwProxy]) -> None:
    proxy = kind(only=short)
    proxy.publish(snapshot(**{short: {"mine": "1", "other": "1"}}))
    assert proxy.ask(short, "mine") == [f"{short} mine@1"]
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"mine": "2", "other": "2"}})) == [f"{short} mine@2"]


@pytest.mark.parametrize("short", ["SDS", "ECDS"])
def test_a_proxy_that_asks_again_for_what_it_keeps_is_not_told_that_it_is_gone(short: str) -> None:
    proxy = DeltaProxy()
    proxy.publish(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.publish(snapshot()) == []
    assert proxy.ask(short, "a") == []
    assert proxy.ask(short, "never-there") == [f"{short} -never-there"]


@pytest.mark.parametrize("short", ["SDS", "ECDS"])
def test_nor_is_one_that_reconnects_with_it(short: str) -> None:
    proxy = DeltaProxy()
    proxy.publish(snapshot())
    assert proxy.ask(short, "a", initial={"a": "1"}) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]
