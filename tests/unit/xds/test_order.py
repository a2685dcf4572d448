"""XDS.md §4: order, warming and make-before-break on aggregated streams."""

import pytest

from tests.unit.xds.proxies import TYPE_URLS, DeltaProxy, Proxy, SotwProxy, snapshot
from xds.protocol.messages import GateExpired
from xds.snapshot import Snapshot

BOTH = pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
PATIENCE = 5.0

# A route r that sends traffic to cluster x, then to y.
TO_X = snapshot(
    CDS={"x": "1"},
    EDS={"x": "1"},
    LDS={"l": "1"},
    RDS={"r": "x"},
    needs={"CDS x": ["EDS x"], "LDS l": ["RDS r"], "RDS r": ["CDS x"]},
)
TO_Y = snapshot(
    CDS={"y": "1"},
    EDS={"y": "1"},
    LDS={"l": "1"},
    RDS={"r": "y"},
    needs={"CDS y": ["EDS y"], "LDS l": ["RDS r"], "RDS r": ["CDS y"]},
)


def subscribe_endpoints(proxy: Proxy, *names: str) -> list[str]:
    """Add these to the endpoints that the proxy is subscribed to."""
    if isinstance(proxy, SotwProxy):
        return proxy.ask("EDS", *dict.fromkeys((*proxy.names.get(TYPE_URLS["EDS"], ()), *names)))
    return proxy.ask("EDS", *names)


def running(kind: type[Proxy], snapshot: Snapshot) -> Proxy:
    """A proxy that runs the snapshot, with everything subscribed to."""
    proxy = kind(patience=PATIENCE)
    proxy.publish(snapshot)
    proxy.ask("CDS")
    subscribe_endpoints(proxy, *snapshot.resources.get(TYPE_URLS["EDS"], {}))
    proxy.ask("LDS")
    for short in ("RDS", "SRDS", "SDS", "ECDS", "RTDS"):
        if names := list(snapshot.resources.get(TYPE_URLS[short], {})):
            proxy.ask(short, *names)
    proxy.ack_all()
    assert proxy.stream.live
    proxy.events()
    return proxy


@BOTH
def test_o1_a_change_of_everything_goes_out_in_the_order_of_reference(kind: type[Proxy]) -> None:
    shorts = ("RTDS", "SDS", "RDS", "LDS", "EDS", "CDS", "SRDS", "ECDS")
    proxy = running(kind, snapshot(**{short: {"a": "1"} for short in shorts}))
    sent = proxy.publish(snapshot(**{short: {"a": "2"} for short in shorts}))
    while proxy.outstanding:
        sent += proxy.ack()
    assert [shown.split()[0] for shown in sent] == ["CDS", "EDS", "LDS", "RDS", "SRDS", "SDS", "ECDS", "RTDS"]


@BOTH
def test_o2_a_changed_cluster_is_followed_by_its_endpoints_although_these_are_the_same(kind: type[Proxy]) -> None:
    proxy = running(kind, snapshot(CDS={"a": "1", "b": "1"}, EDS={"a": "1", "b": "1"}))
    sent = proxy.publish(snapshot(CDS={"a": "2", "b": "1"}, EDS={"a": "1", "b": "1"}))
    assert sent[-1] == "EDS a@1"
    assert len(sent) == 2


@BOTH
def test_o2_finds_endpoints_that_have_another_name_than_their_cluster(kind: type[Proxy]) -> None:
    needs = {"CDS a": ["EDS service"]}
    proxy = running(kind, snapshot(CDS={"a": "1"}, EDS={"service": "1"}, needs=needs))
    assert proxy.publish(snapshot(CDS={"a": "2"}, EDS={"service": "1"}, needs=needs)) == ["CDS a@2", "EDS service@1"]


def test_o2_a_cluster_that_is_sent_again_unchanged_is_not_followed_by_its_endpoints() -> None:
    proxy = running(DeltaProxy, snapshot(CDS={"a": "1"}, EDS={"a": "1"}))
    assert proxy.ask("CDS", "a") == ["CDS a@1"]


def test_o2_endpoints_follow_a_cluster_that_changed_while_the_proxy_was_away() -> None:
    proxy = DeltaProxy()
    proxy.publish(snapshot(CDS={"a": "2"}, EDS={"a": "1"}))
    assert proxy.ask("CDS", initial={"a": "1"}) == ["CDS a@2"]
    assert proxy.ask("EDS", "a", initial={"a": "1"}) == ["EDS a@1"]
    again = DeltaProxy()
    again.publish(snapshot(CDS={"a": "2"}, EDS={"a": "1"}))
    assert again.ask("CDS", initial={"a": "2"}) == ["CDS"]
    assert again.ask("EDS", "a", initial={"a": "1"}) == []


def test_o2_endpoints_that_a_proxy_asks_for_anyway_are_sent_once() -> None:
    proxy = running(DeltaProxy, snapshot(CDS={"a": "1"}, EDS={"a": "1"}))
    both = {"a": "1", "b": "1"}
    assert proxy.publish(snapshot(CDS=both, EDS=both)) == ["CDS b@1"]
    assert proxy.ask("EDS", "b") == ["EDS b@1"]
    assert proxy.ack() == []


@BOTH
def test_o3_routes_follow_a_changed_listener_only_if_they_changed_too(kind: type[Proxy]) -> None:
    proxy = running(kind, snapshot(LDS={"l": "1"}, RDS={"r": "1"}))
    assert proxy.publish(snapshot(LDS={"l": "2"}, RDS={"r": "1"})) == ["LDS l@2"]
    proxy.ack_all()
    assert proxy.publish(snapshot(LDS={"l": "3"}, RDS={"r": "2"})) == ["LDS l@3", "RDS r@2"]


def test_o4_a_retargeted_route_is_made_before_it_is_broken() -> None:
    proxy = running(DeltaProxy, TO_X)
    assert proxy.publish(TO_Y) == ["CDS y@1"]
    assert subscribe_endpoints(proxy, "y") == ["EDS y@1"]
    assert proxy.ack("CDS") == []
    assert proxy.ack("EDS") == ["RDS r@y"]
    assert proxy.ack("RDS") == ["CDS -x", "EDS -x"]
    assert not proxy.stream.live
    assert proxy.ack() == []
    assert proxy.stream.live


def test_o4_also_in_the_other_dialect() -> None:
    proxy = running(SotwProxy, TO_X)
    assert proxy.publish(TO_Y) == ["CDS x@1 y@1"]
    assert subscribe_endpoints(proxy, "y") == ["EDS y@1"]
    assert proxy.ack("CDS") == []
    assert proxy.ack("EDS") == ["RDS r@y"]
    assert proxy.ack("RDS") == ["CDS y@1"]
    assert proxy.ack() == []
    assert proxy.stream.live


@BOTH
def test_o4_the_route_waits_for_endpoints_that_the_proxy_has_yet_to_ask_for(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    assert proxy.ack("CDS") == []
    assert subscribe_endpoints(proxy, "y") == ["EDS y@1"]
    assert proxy.ack("EDS") == ["RDS r@y"]


@BOTH
def test_o4_the_cluster_stays_until_the_routes_of_a_new_listener_have_come(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    retargeted = snapshot(
        CDS={"y": "1"},
        LDS={"l": "2"},
        RDS={"r2": "y"},
        needs={"LDS l": ["RDS r2"], "RDS r2": ["CDS y"], "CDS y": ["SDS none"]},
    )
    proxy.publish(retargeted)
    assert "LDS l@2" in proxy.ack("CDS")
    assert proxy.ack("LDS") == []
    assert proxy.ask("RDS", "r", "r2") in (["RDS r2@y"], ["RDS r2@y -r"])
    assert proxy.ack("RDS")[0] in ("CDS -x", "CDS y@1")


@BOTH
def test_o4_a_proxy_that_refuses_the_new_route_keeps_the_old_cluster(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    subscribe_endpoints(proxy, "y")
    proxy.ack("CDS", "EDS")
    assert proxy.nack("RDS") == []
    assert proxy.later(1_000) == []
    mended = snapshot(CDS={"y": "1"}, EDS={"y": "1"}, LDS={"l": "1"}, RDS={"r": "y2"})
    assert proxy.publish(mended) == ["RDS r@y2"]
    assert proxy.ack("RDS")[0] in ("CDS -x", "CDS y@1")


@BOTH
def test_o4_a_proxy_that_refuses_the_new_cluster_keeps_the_old_route(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    assert proxy.nack("CDS", "bad cluster") == []
    assert proxy.later(PATIENCE) == []
    assert not proxy.stream.live
    mended = snapshot(CDS={"y": "2"}, EDS={"y": "1"}, LDS={"l": "1"}, RDS={"r": "y"}, needs={"RDS r": ["CDS y"]})
    proxy.publish(mended)
    subscribe_endpoints(proxy, "y")
    sent = [*proxy.ack("CDS"), *proxy.ack("EDS")]
    assert sent == ["RDS r@y"]


@BOTH
def test_o4_a_refused_change_of_a_cluster_holds_no_route_as_the_proxy_still_has_the_cluster(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(snapshot(CDS={"x": "2"}, EDS={"x": "1"}, LDS={"l": "1"}, RDS={"r": "x2"}, needs={"RDS r": ["CDS x"]}))
    assert [*proxy.nack("CDS"), *proxy.ack("EDS")] == ["RDS r@x2"]


@BOTH
def test_o4_a_change_back_before_the_break_leaves_the_cluster_where_it_was(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    subscribe_endpoints(proxy, "y")
    proxy.ack("CDS", "EDS")
    assert proxy.publish(TO_X) == ["RDS r@x"]
    final = proxy.ack("RDS")
    proxy.ack_all()
    assert proxy.stream.live
    assert final[0] in ("CDS -y", "CDS x@1")


@BOTH
def test_o4_many_changes_in_a_row_end_with_the_last_one(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    for _ in range(20):
        proxy.publish(TO_Y)
        proxy.publish(TO_X)
    proxy.publish(TO_Y)
    for _ in range(10):
        subscribe_endpoints(proxy, "y")
        proxy.ack()
    proxy.ack_all()
    assert proxy.stream.live


@BOTH
def test_o4_a_listener_that_goes_makes_room_at_once(kind: type[Proxy]) -> None:
    # Its address may be the new one's.
    proxy = running(kind, snapshot(LDS={"old": "1"}))
    assert proxy.publish(snapshot(LDS={"new": "1"})) in (["LDS new@1 -old"], ["LDS new@1"])


@BOTH
def test_clusters_that_nothing_changed_for_come_and_go_in_one_step(kind: type[Proxy]) -> None:
    proxy = running(kind, snapshot(CDS={"a": "1", "b": "1"}, LDS={"l": "1"}))
    assert proxy.publish(snapshot(CDS={"a": "1", "c": "1"}, LDS={"l": "1"})) in (
        ["CDS c@1 -b"],
        ["CDS a@1 c@1"],
    )


@BOTH
def test_a_stream_of_a_single_type_changes_in_one_step(kind: type[Proxy]) -> None:
    proxy = kind("CDS")
    proxy.publish(TO_X)
    proxy.ask("CDS")
    assert proxy.publish(TO_Y) in (["CDS y@1 -x"], ["CDS y@1"])
    assert proxy.stream.deadline is None


@BOTH
def test_o5_a_proxy_that_does_not_answer_is_waited_for_no_longer_than_the_patience(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    assert proxy.stream.deadline == PATIENCE
    assert proxy.later(PATIENCE - 0.1) == []
    assert proxy.later(0.1) == ["RDS r@y"]
    assert proxy.events() == [GateExpired((TYPE_URLS["CDS"],))]
    assert proxy.later(PATIENCE)[0] in ("CDS -x", "CDS y@1")
    assert proxy.stream.deadline is None


@BOTH
def test_o5_changes_that_never_stop_do_not_hold_the_routes_back(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    sent: list[str] = []
    for second in range(10):
        clusters = {"x": "1", "y": str(second)}
        sent += proxy.publish(snapshot(CDS=clusters, LDS={"l": "1"}, RDS={"r": "y"}))
        sent += proxy.later(1.0)
    assert "RDS r@y" in sent


@BOTH
def test_o5_a_late_answer_after_the_patience_is_still_an_answer(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    proxy.publish(TO_Y)
    proxy.later(PATIENCE)
    proxy.later(PATIENCE)
    subscribe_endpoints(proxy, "y")
    proxy.ack_all()
    assert proxy.stream.live


@BOTH
def test_what_is_asked_for_by_name_is_never_kept_waiting(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    coming = snapshot(
        CDS={"x": "1", "y": "1"}, EDS={"x": "1", "y": "1"}, LDS={"l": "1"}, RDS={"r": "y", "s": "1"}, SDS={"key": "1"}
    )
    assert proxy.publish(coming) in (["CDS y@1"], ["CDS x@1 y@1"])
    assert proxy.ask("SDS", "key") == ["SDS key@1"]
    assert proxy.ask("RDS", "r", "s")[-1] in ("RDS s@1", "RDS r@x s@1")


@BOTH
def test_o7_a_rotated_certificate_sends_nothing_else(kind: type[Proxy]) -> None:
    proxy = running(kind, snapshot(CDS={"a": "1"}, LDS={"l": "1"}, SDS={"cert": "1"}))
    assert proxy.publish(snapshot(CDS={"a": "1"}, LDS={"l": "1"}, SDS={"cert": "2"})) == ["SDS cert@2"]


@BOTH
def test_o8_a_change_of_endpoints_sends_nothing_else(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    moved = snapshot(CDS={"x": "1"}, EDS={"x": "2"}, LDS={"l": "1"}, RDS={"r": "x"})
    assert proxy.publish(moved) == ["EDS x@2"]
    assert proxy.ack() == []


@BOTH
def test_a_route_change_with_nothing_in_flight_is_sent_at_once(kind: type[Proxy]) -> None:
    proxy = running(kind, TO_X)
    assert proxy.publish(snapshot(CDS={"x": "1"}, EDS={"x": "1"}, LDS={"l": "1"}, RDS={"r": "x with a retry"})) == [
        "RDS r@x with a retry"
    ]


def test_a_route_that_changed_while_the_proxy_was_away_waits_for_its_cluster() -> None:
    proxy = DeltaProxy()
    proxy.publish(TO_Y)
    assert proxy.ask("CDS", initial={"x": "1"}) == ["CDS y@1 -x"]
    assert proxy.ask("LDS", initial={"l": "1"}) == ["LDS"]
    assert proxy.ask("RDS", "r", initial={"r": "x"}) == []
    assert proxy.ack("LDS") == []
    assert proxy.ack("CDS") == ["RDS r@y"]


def test_the_endpoints_of_a_refused_cluster_are_not_awaited() -> None:
    proxy = running(DeltaProxy, TO_X)
    proxy.publish(snapshot(CDS={"x": "1", "bad": "1"}, EDS={"x": "1", "bad": "1"}, LDS={"l": "1"}, RDS={"r": "x2"}))
    assert proxy.nack("CDS") == ["RDS r@x2"]
