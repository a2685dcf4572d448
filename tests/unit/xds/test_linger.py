"""Clusters that shall go stay a while: a request may have chosen its route before the proxy took the new one."""

import pytest

from tests.unit.xds.proxies import DeltaProxy, Proxy, SotwProxy, snapshot
from tests.unit.xds.test_order import TO_X, TO_Y, subscribe_endpoints
from xds.snapshot import CLUSTER, Snapshot

BOTH = pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
LINGER = 10.0


def running(kind: type[Proxy], first: Snapshot = TO_X) -> Proxy:
    proxy = kind(linger=LINGER, patience=5.0)
    proxy.publish(first)
    proxy.ask("CDS")
    subscribe_endpoints(proxy, "x", "y")
    proxy.ask("LDS")
    proxy.ask("RDS", "r")
    proxy.ack_all()
    assert proxy.stream.live
    return proxy


def clusters(proxy: Proxy) -> set[str]:
    """Those that the proxy has accepted."""
    return set(proxy.stream.subscriptions[CLUSTER].acked)


def at(proxy: Proxy, now: float) -> list[str]:
    """What is sent when that time has come."""
    return proxy.later(now - proxy.now)


@BOTH
def test_a_cluster_outlasts_the_last_route_to_it(kind: type[Proxy]) -> None:
    proxy = running(kind)
    proxy.publish(TO_Y)
    proxy.ack_all()
    assert clusters(proxy) == {"x", "y"}
    assert proxy.stream.live
    assert proxy.stream.deadline == LINGER
    assert at(proxy, LINGER - 0.1) == []
    assert at(proxy, LINGER)
    proxy.ack_all()
    assert clusters(proxy) == {"y"}
    assert proxy.stream.deadline is None


@BOTH
def test_a_change_in_the_meantime_takes_nothing_away_early(kind: type[Proxy]) -> None:
    proxy = running(kind)
    proxy.publish(TO_Y)
    proxy.ack_all()
    other = snapshot(
        CDS={"y": "2"}, EDS={"y": "1"}, LDS={"l": "1"}, RDS={"r": "y"},
        needs={"CDS y": ["EDS y"], "LDS l": ["RDS r"], "RDS r": ["CDS y"]},
    )  # fmt: skip
    proxy.now = 6.0
    proxy.publish(other)
    proxy.ack_all()
    assert clusters(proxy) == {"x", "y"}
    # Its time began when the route left it, not at the last change.
    at(proxy, LINGER)
    proxy.ack_all()
    assert clusters(proxy) == {"y"}


@BOTH
def test_a_cluster_that_comes_back_in_time_never_goes(kind: type[Proxy]) -> None:
    proxy = running(kind)
    proxy.publish(TO_Y)
    proxy.ack_all()
    proxy.now = 6.0
    proxy.publish(TO_X)
    proxy.ack_all()
    assert at(proxy, LINGER) == []
    assert clusters(proxy) == {"x", "y"}
    at(proxy, 6.0 + LINGER)
    proxy.ack_all()
    assert clusters(proxy) == {"x"}


@BOTH
def test_a_deadline_while_an_answer_is_outstanding_is_not_reached_again_and_again(kind: type[Proxy]) -> None:
    proxy = running(kind)
    proxy.publish(TO_Y)
    proxy.ack_all()
    proxy.ask("RDS", "r", "another")
    at(proxy, LINGER)
    assert proxy.stream.deadline != LINGER
    proxy.now = LINGER
    proxy.ack_all()
    assert clusters(proxy) == {"y"}


@BOTH
def test_a_proxy_that_has_no_routes_is_told_at_once(kind: type[Proxy]) -> None:
    proxy = kind(linger=LINGER)
    proxy.publish(snapshot(CDS={"x": "1", "y": "1"}))
    proxy.ask("CDS")
    proxy.ack_all()
    assert proxy.publish(snapshot(CDS={"y": "1"}))
    proxy.ack_all()
    assert clusters(proxy) == {"y"}
