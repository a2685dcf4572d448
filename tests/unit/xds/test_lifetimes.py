"""XDS.md W20 and D20: what has a TTL is renewed in time, and renewing it disturbs nothing else."""

import pytest

from tests.unit.xds.proxies import NODE, TYPE_URLS, DeltaProxy, Proxy, SotwProxy
from xds.protocol.messages import ENVOY, WRAPPED_RESOURCES, Acked, DeltaRequest, Nacked, Node, StaleNonce
from xds.snapshot import Resource, Snapshot

TTL = 30.0
BOTH = pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
COMPLETE = pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
NAMED = pytest.mark.parametrize("short", ["EDS", "RDS", "SDS", "RTDS", "ECDS"])


def lasting(ttl: float | None = TTL, **types: dict[str, str]) -> Snapshot:
    return Snapshot.of(
        (TYPE_URLS[short], Resource.of(name, text.encode(), ttl=ttl))
        for short, members in types.items()
        for name, text in members.items()
    )


def running(kind: type[Proxy], snapshot: Snapshot, short: str = "EDS", *names: str, agent: str = "") -> Proxy:
    """A proxy that understands TTLs and has accepted what it asked for. It says who it is in its first message."""
    proxy = kind()
    proxy._node = Node(NODE.id, NODE.cluster, agent, client_features=frozenset({WRAPPED_RESOURCES}))
    proxy.publish(snapshot)
    proxy.ask(short, *names)
    proxy.ack_all()
    proxy.events()
    return proxy


def beats(proxy: Proxy, seconds: float, *, bare: bool = True) -> list[list[str]]:
    """The names that heartbeats bring after so many seconds."""
    count = len(proxy.responses)
    proxy.later(seconds)
    for response in proxy.responses[count:]:
        assert response.heartbeat
        assert response.bare == bare
        assert response.wrapped == isinstance(proxy, SotwProxy)
    return [[each.name for each in response.resources] for response in proxy.responses[count:]]


@NAMED
def test_d20_a_heartbeat_without_a_body_comes_long_before_the_ttl_runs_out(short: str) -> None:
    proxy = running(DeltaProxy, lasting(**{short: {"a": "1", "b": "1"}}), short, "a", "b")
    assert proxy.stream.deadline == pytest.approx(10.0)
    assert beats(proxy, 9.0) == []
    assert beats(proxy, 1.0) == [["a", "b"]]
    assert [each.version for each in proxy.responses[-1].resources] == [
        each.version for response in proxy.responses[:2] for each in response.resources
    ]
    proxy.ack_all()
    assert proxy.stream.deadline == pytest.approx(20.0)
    assert beats(proxy, 10.0) == [["a", "b"]]


def partly_lasting(short: str) -> Snapshot:
    """a goes on for ever, and b does not."""
    return Snapshot.of((TYPE_URLS[short], Resource.of(name, b"1", ttl=ttl)) for name, ttl in (("a", None), ("b", TTL)))


@COMPLETE
def test_w20_a_heartbeat_of_a_complete_set_holds_what_has_a_ttl_and_nothing_else(short: str) -> None:
    proxy = running(SotwProxy, partly_lasting(short), short)
    assert beats(proxy, 10.0) == [["b"]]
    assert proxy.responses[-1].version == proxy.responses[0].version


@NAMED
def test_w20_a_heartbeat_has_no_body(short: str) -> None:
    proxy = running(SotwProxy, lasting(**{short: {"a": "1", "b": "1"}}), short, "a", "b")
    assert beats(proxy, 10.0) == [["a", "b"]]
    assert proxy.responses[-1].version == proxy.responses[0].version


@COMPLETE
def test_w20_an_envoys_complete_set_is_renewed_as_a_whole_as_it_deletes_what_is_left_out(short: str) -> None:
    proxy = running(SotwProxy, partly_lasting(short), short, agent=ENVOY)
    assert beats(proxy, 10.0, bare=False) == [["a", "b"]]


@NAMED
def test_w20_an_envoy_is_repeated_the_body_as_it_renews_nothing_without(short: str) -> None:
    proxy = running(SotwProxy, lasting(**{short: {"a": "1", "b": "1"}}), short, "a", "b", agent=ENVOY)
    assert beats(proxy, 10.0, bare=False) == [["a", "b"]]


def test_d20_a_virtual_host_is_renewed_without_its_body_except_to_an_envoy() -> None:
    host = lasting(VHDS={"rc/a": "1"})
    assert beats(running(DeltaProxy, host, "VHDS", "rc/a"), 10.0) == [["rc/a"]]
    assert beats(running(DeltaProxy, host, "VHDS", "rc/a", agent=ENVOY), 10.0, bare=False) == [["rc/a"]]


def test_d20_the_members_of_a_collection_are_renewed_without_their_bodies_except_to_an_envoy() -> None:
    member = lasting(LEDS={"one/a": "1"})
    assert beats(running(DeltaProxy, member, "LEDS", "one/*"), 10.0) == [["one/a"]]
    assert beats(running(DeltaProxy, member, "LEDS", "one/*", agent=ENVOY), 10.0, bare=False) == [["one/a"]]


@BOTH
def test_what_has_no_ttl_is_never_renewed(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(None, EDS={"a": "1"}), "EDS", "a")
    assert proxy.stream.deadline is None
    assert beats(proxy, 1_000.0) == []


def test_w20_a_client_that_does_not_say_that_it_understands_wrapped_resources_gets_bare_ones_for_ever() -> None:
    proxy = SotwProxy()
    proxy.publish(lasting(EDS={"a": "1"}))
    proxy.ask("EDS", "a")
    proxy.ack_all()
    assert not proxy.responses[0].wrapped
    assert proxy.stream.deadline is None
    wrapping = running(SotwProxy, lasting(EDS={"a": "1"}), "EDS", "a")
    assert wrapping.responses[0].wrapped


def test_w20_a_heartbeat_has_the_version_that_the_client_last_accepted_although_the_set_has_another() -> None:
    proxy = running(SotwProxy, lasting(EDS={"a": "1"}), "EDS", "a")
    assert proxy.publish(lasting(EDS={"a": "1", "b": "1"})) == []
    proxy.later(10.0)
    assert proxy.responses[-1].heartbeat
    assert proxy.responses[-1].version == proxy.responses[0].version


@BOTH
def test_a_ttl_that_is_removed_or_changed_is_a_change_of_the_resource(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    assert proxy.publish(lasting(60.0, EDS={"a": "1"})) == ["EDS a@1"]
    proxy.ack_all()
    assert proxy.stream.deadline == pytest.approx(20.0)
    assert proxy.publish(lasting(None, EDS={"a": "1"})) == ["EDS a@1"]
    proxy.ack_all()
    assert proxy.stream.deadline is None


@BOTH
def test_a_heartbeat_leaves_a_proxy_live_and_its_gate_open(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(CDS={"c": "1"}, RDS={"r": "1"}), "CDS")
    proxy.ask("RDS", "r")
    proxy.ack_all()
    assert proxy.stream.live
    proxy.later(10.0)
    assert proxy.outstanding
    assert proxy.stream.live
    assert all(not each.in_flight for each in proxy.stream.subscriptions.values())
    changed = lasting(CDS={"c": "1"}, RDS={"r": "2"})
    assert proxy.publish(changed) == ["RDS r@2"]


@BOTH
def test_the_answer_to_a_heartbeat_is_an_answer_and_nothing_stale(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    proxy.later(10.0)
    proxy.ack_all()
    (event,) = proxy.events()
    assert isinstance(event, Acked)
    assert event.response.heartbeat


@BOTH
def test_what_is_in_flight_is_not_renewed_before_it_is_answered(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    proxy.publish(lasting(EDS={"a": "2"}))
    assert beats(proxy, 20.0) == []
    assert proxy.stream.deadline is None
    proxy.ack_all()
    # The proxy's clock began to run at the earliest when the response was sent.
    assert beats(proxy, 0.0) == [["a"]]


@BOTH
def test_a_proxy_that_refused_a_change_is_kept_what_it_had(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    good = proxy.responses[0]
    proxy.publish(lasting(EDS={"a": "bad"}))
    proxy.nack("EDS")
    assert beats(proxy, 10.0) == [["a"]]
    assert proxy.responses[-1].resources == good.resources
    proxy.ack_all()
    assert list(proxy.stream.subscriptions[TYPE_URLS["EDS"]].refused) == ["a"]
    assert not proxy.stream.live


@BOTH
def test_a_refused_heartbeat_has_the_resource_sent_again(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    proxy.later(10.0)
    assert proxy.nack("EDS") == ["EDS a@1"]
    assert not proxy.responses[-1].heartbeat
    assert [type(event) for event in proxy.events()] == [Nacked]


@BOTH
def test_one_heartbeat_at_a_time_is_unanswered(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1"}), "EDS", "a")
    assert len(beats(proxy, 10.0)) == 1
    assert beats(proxy, 100.0) == []
    proxy.ack_all()
    assert len(beats(proxy, 0.0)) == 1


def test_a_change_while_a_heartbeat_is_unanswered_is_sent_and_accepted_as_ever() -> None:
    proxy = running(SotwProxy, lasting(EDS={"a": "1"}), "EDS", "a")
    proxy.later(10.0)
    proxy.publish(lasting(EDS={"a": "2"}))
    beat, change = proxy.outstanding
    proxy.answer(beat)
    proxy.answer(change)
    assert not [event for event in proxy.events() if isinstance(event, StaleNonce)]
    assert proxy.stream.live


@BOTH
def test_what_is_unsubscribed_is_not_renewed(kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(EDS={"a": "1", "b": "1"}), "EDS", "a", "b")
    if isinstance(proxy, DeltaProxy):
        proxy.ask("EDS", unsubscribe=["b"])
    else:
        proxy.ask("EDS", "a")
    assert beats(proxy, 10.0) == [["a"]]


def test_a_reconnecting_client_is_renewed_at_once_as_nobody_knows_how_much_time_is_left() -> None:
    offered = lasting(EDS={"a": "1"})
    version = offered.resources[TYPE_URLS["EDS"]]["a"].version
    proxy = DeltaProxy()
    request = DeltaRequest(type_url=TYPE_URLS["EDS"], node=NODE, subscribe=("a",), initial_versions={"a": version})
    assert proxy.send(request) == []
    assert proxy.publish(offered) == []
    assert beats(proxy, 0.0) == [["a"]]


def test_w17_a_complete_set_with_ttls_is_sent_after_a_reconnect_although_the_version_is_current() -> None:
    offered = lasting(CDS={"a": "1"})
    proxy = SotwProxy()
    proxy.publish(offered)
    assert proxy.ask("CDS", version=offered.versions[TYPE_URLS["CDS"]]) == ["CDS a@1"]


def test_in_state_of_the_world_a_name_that_is_gone_runs_out_and_is_sent_anew_when_it_returns() -> None:
    proxy = running(SotwProxy, lasting(EDS={"a": "1"}), "EDS", "a")
    assert proxy.publish(lasting()) == []
    assert beats(proxy, 10.0) == []
    assert proxy.publish(lasting(EDS={"a": "1"})) == ["EDS a@1"]


@BOTH
@pytest.mark.parametrize("short", ["SDS", "ECDS"])
def test_what_a_proxy_still_refers_to_is_renewed_although_it_is_gone(short: str, kind: type[Proxy]) -> None:
    proxy = running(kind, lasting(**{short: {"a": "1"}}), short, "a")
    assert proxy.publish(lasting()) == []
    assert beats(proxy, 10.0) == [["a"]]


def test_heartbeats_are_split_below_what_the_client_receives() -> None:
    names = [f"name-{number:03}" for number in range(100)]
    proxy = running(DeltaProxy, lasting(EDS=dict.fromkeys(names, "1")), "EDS", *names)
    proxy.stream.limit = 10_000
    found = beats(proxy, 10.0)
    assert len(found) > 1
    assert sorted(name for told in found for name in told) == names


def test_what_a_reconnected_proxy_had_is_renewed_when_it_refuses_what_has_come_since() -> None:
    (had,) = lasting(EDS={"a": "1"}).resources[TYPE_URLS["EDS"]].values()
    proxy = DeltaProxy()
    proxy.publish(lasting(EDS={"a": "bad"}))
    assert proxy.send(
        DeltaRequest(type_url=TYPE_URLS["EDS"], node=NODE, subscribe=("a",), initial_versions={"a": had.version})
    ) == ["EDS a@bad"]
    proxy.nack("EDS")
    assert beats(proxy, 0.0) == [["a"]]
    assert proxy.responses[-1].resources[0].version == had.version
