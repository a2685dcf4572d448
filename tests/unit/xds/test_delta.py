"""XDS.md §3: the incremental dialect."""

import pytest

from tests.unit.xds.proxies import TYPE_URLS, DeltaProxy, resource, snapshot
from xds.protocol.messages import Acked, DeltaRequest, Nacked, StaleNonce
from xds.snapshot import Snapshot

ROOT = pytest.mark.parametrize("short", ["CDS", "LDS", "SRDS"])
NAMED = pytest.mark.parametrize("short", ["RDS", "EDS", "SDS", "RTDS", "ECDS", "VHDS", "LEDS"])
# Those that Envoy keeps while it subscribes to them are never said to be gone once they were there.
DELETABLE = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS", "RTDS", "SRDS", "VHDS"])
# Of virtual hosts a missing one is said to be so in a way of its own.
TAKEN_AWAY = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS", "LEDS", "SDS", "RTDS", "ECDS", "SRDS"])
ANY = pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS", "SDS", "RTDS", "ECDS", "SRDS", "VHDS", "LEDS"])


def published(snapshot: Snapshot) -> DeltaProxy:
    proxy = DeltaProxy()
    proxy.publish(snapshot)
    return proxy


@ROOT
@pytest.mark.parametrize("subscribe", [(), ("*",)])
def test_d1_an_empty_or_starred_first_request_gets_everything(short: str, subscribe: tuple[str, ...]) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    assert proxy.ask(short, *subscribe) == [f"{short} a@1", f"{short} b@1"]


@ROOT
@pytest.mark.parametrize("subscribe", [(), ("*",)])
def test_d1_a_wildcard_is_answered_even_with_nothing(short: str, subscribe: tuple[str, ...]) -> None:
    assert published(snapshot()).ask(short, *subscribe) == [short]


@ROOT
def test_d1_a_first_request_that_only_unsubscribes_is_no_wildcard(short: str) -> None:
    assert published(snapshot(**{short: {"a": "1"}})).ask(short, unsubscribe=["x"]) == []


@pytest.mark.parametrize("short", ["RDS", "EDS", "SDS", "RTDS", "ECDS", "LEDS"])
def test_d1_an_empty_first_request_of_a_named_type_subscribes_to_nothing(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == []


@ANY
def test_d2_each_resource_has_its_own_version_and_only_changed_ones_are_sent(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "2"}})) == [f"{short} b@2"]
    assert proxy.responses[-1].resources[0].version == resource("b", "2").version


@DELETABLE
def test_d3_a_deletion_is_said_exactly_once(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "1"}})) == [f"{short} -b"]
    assert proxy.ack() == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]


@ROOT
def test_d3_a_deletion_is_said_to_a_wildcard_too(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.publish(snapshot()) == [f"{short} -a -b"]


@pytest.mark.parametrize("short", ["SDS", "ECDS"])
def test_what_a_proxy_still_refers_to_is_never_said_to_be_gone(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.publish(snapshot()) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]


@TAKEN_AWAY
def test_d4_a_name_that_does_not_exist_is_said_to_be_missing_at_once(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short, "a", "missing") == [f"{short} a@1 -missing"]
    proxy.ack_all()
    assert proxy.stream.live


@ANY
def test_d5_it_is_sent_when_it_is_created_later(short: str) -> None:
    proxy = published(snapshot())
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "1"}})) == [f"{short} a@1"]


@ANY
def test_d6_a_name_is_answered_although_it_is_subscribed_and_up_to_date(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.ask(short, "a") == [f"{short} a@1"]


@ROOT
def test_d6_a_wildcard_asked_for_again_gets_everything_again(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.ask(short, "*") == [f"{short} a@1", f"{short} b@1"]


@ANY
def test_d7_an_unsubscription_gets_no_response_and_no_later_change(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    assert proxy.ask(short, unsubscribe=["b", "never heard of"]) == []
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "2"}})) == []
    assert proxy.publish(snapshot(**{short: {"a": "1"}})) == []
    assert proxy.stream.live


@ROOT
@pytest.mark.parametrize(("now", "answer"), [({"a": "1", "b": "1"}, "a@1"), ({"b": "1"}, "-a")])
def test_d8_a_name_unsubscribed_under_a_wildcard_is_answered_with_what_it_is(
    short: str, now: dict[str, str], answer: str
) -> None:
    proxy = published(snapshot(**{short: now}))
    proxy.ask(short, "*", "a")
    proxy.ack_all()
    assert proxy.ask(short, unsubscribe=["a"]) == [f"{short} {answer}"]


@ROOT
def test_d8_a_name_that_was_never_asked_for_by_name_is_not_answered(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.ask(short, unsubscribe=["a"]) == []


@ROOT
def test_d9_dropping_the_wildcard_keeps_the_names_and_no_names_is_no_wildcard(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "*", "a")
    proxy.ack_all()
    assert proxy.ask(short, unsubscribe=["*"]) == []
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "2"}})) == [f"{short} a@2"]
    proxy.ask(short, unsubscribe=["a"])
    assert proxy.ask(short) == []
    assert proxy.publish(snapshot(**{short: {"a": "3", "b": "3"}})) == []


@ROOT
def test_d10_what_a_reconnecting_wildcard_has_is_not_sent_and_what_is_gone_is_said(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "2", "c": "1"}}))
    sent = proxy.ask(short, initial={"a": "1", "b": "1", "gone": "1"})
    assert sent == [f"{short} b@2 -gone", f"{short} c@1"]


@ROOT
def test_d10_a_reconnecting_wildcard_that_has_everything_is_sent_nothing_but_a_greeting(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short, initial={"a": "1"}) == [short]
    proxy.ack_all()
    assert proxy.stream.live


@DELETABLE
def test_d10_holds_for_names_too(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "2"}}))
    assert proxy.ask(short, "a", "b", "gone", initial={"a": "1", "b": "1", "gone": "1"}) == [f"{short} b@2 -gone"]


@ANY
def test_d10_counts_on_the_first_request_of_a_type_only(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.ask(short, "b", initial={"b": "1"}) == [f"{short} b@1"]


def test_d10_is_kept_until_there_is_a_snapshot() -> None:
    proxy = DeltaProxy()
    proxy.ask("RDS", "a", "b", initial={"a": "1"})
    assert proxy.publish(snapshot(RDS={"a": "1", "b": "1"})) == ["RDS b@1"]


@NAMED
def test_d11_a_version_that_the_client_has_is_no_subscription(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "2"}}))
    assert proxy.ask(short, "a", initial={"b": "1", "gone": "1"}) == [f"{short} a@1"]
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "3"}})) == []


@ANY
def test_d12_a_subscription_that_comes_with_an_unknown_nonce_counts(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    proxy.events()
    assert proxy.ask(short, "b", nonce="no such nonce") == [f"{short} b@1"]
    assert proxy.events() == [StaleNonce(TYPE_URLS[short])]


def test_d13_a_nonce_accepts_or_refuses_its_own_response_with_several_in_flight() -> None:
    proxy = published(snapshot(CDS={"a": "1", "b": "1", "c": "1"}))
    proxy.ask("CDS")
    first, second, third = proxy.outstanding
    proxy.answer(third)
    proxy.answer(first, "no")
    proxy.answer(second)
    events = proxy.events()
    assert [(type(event), event.response) for event in events] == [(Acked, third), (Nacked, first), (Acked, second)]
    clusters = proxy.stream.subscriptions[TYPE_URLS["CDS"]]
    assert sorted(clusters.acked) == ["b", "c"]
    assert list(clusters.refused) == ["a"]


def test_d13_an_unknown_nonce_is_harmless() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    proxy.ask("CDS")
    assert proxy.ask("CDS", nonce="77") == []
    assert proxy.ack() == []
    assert proxy.stream.live


@ANY
def test_d14_a_refused_version_is_not_sent_again_and_the_old_one_stays_accepted(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    proxy.publish(snapshot(**{short: {"a": "2", "b": "1"}}))
    assert proxy.nack(short) == []
    subscription = proxy.stream.subscriptions[TYPE_URLS[short]]
    assert subscription.acked["a"] == resource("a", "1").version
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "2"}})) == [f"{short} b@2"]


@ANY
def test_d14_a_refused_version_is_sent_again_when_the_client_asks_for_it(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, "a")
    proxy.nack(short)
    assert proxy.ask(short, "a") == [f"{short} a@1"]


@ANY
def test_d14_a_return_to_the_accepted_version_sends_nothing(short: str) -> None:
    good = snapshot(**{short: {"a": "1"}})
    proxy = published(good)
    proxy.ask(short, "a")
    proxy.ack_all()
    proxy.publish(snapshot(**{short: {"a": "2"}}))
    proxy.nack(short)
    assert proxy.publish(good) == []
    assert proxy.stream.live


@ANY
def test_d14_a_mended_version_is_sent_at_once(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, "a")
    proxy.nack(short)
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]
    proxy.ack_all()
    assert proxy.stream.live


def test_d14_a_mended_version_is_sent_while_the_refusal_is_still_on_its_way() -> None:
    proxy = published(snapshot(RDS={"a": "1"}))
    proxy.ask("RDS", "a")
    refused = proxy.outstanding.pop()
    assert proxy.publish(snapshot(RDS={"a": "2"})) == ["RDS a@2"]
    assert proxy.answer(refused, "no") == []
    assert proxy.ack() == []
    assert proxy.stream.live


def test_d14_a_refused_rename_takes_effect_as_one_step_when_it_is_mended() -> None:
    proxy = published(snapshot(LDS={"old": "1"}))
    proxy.ask("LDS")
    proxy.ack_all()
    assert proxy.publish(snapshot(LDS={"new": "1"})) == ["LDS new@1 -old"]
    assert proxy.nack("LDS") == []
    assert proxy.publish(snapshot(LDS={"new": "2"})) == ["LDS new@2 -old"]
    proxy.ack_all()
    assert proxy.stream.live


def test_d14_a_deleted_refused_resource_leaves_what_the_client_has_of_it_to_be_deleted() -> None:
    proxy = published(snapshot(RDS={"a": "1"}))
    proxy.ask("RDS", "a")
    proxy.ack_all()
    proxy.publish(snapshot(RDS={"a": "2"}))
    proxy.nack("RDS")
    assert proxy.publish(snapshot()) == ["RDS -a"]


@ANY
def test_d15_a_request_without_a_nonce_is_no_ack(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    proxy.ask(short, "b")
    assert proxy.events() == []
    assert proxy.stream.subscriptions[TYPE_URLS[short]].acked == {}


@ANY
def test_d16_an_ack_that_subscribes_does_both(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    nonce = proxy.outstanding.pop().nonce
    assert proxy.ask(short, "b", nonce=nonce) == [f"{short} b@1"]
    assert [type(event) for event in proxy.events()] == [Acked]


@ANY
def test_d16_a_name_subscribed_and_unsubscribed_in_one_request_is_unsubscribed(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "b")
    proxy.ack_all()
    assert proxy.ask(short, "a", unsubscribe=["a"]) == []
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "1"}})) == []


def test_d16_a_refusal_that_subscribes_does_both() -> None:
    proxy = published(snapshot(RDS={"a": "1", "b": "1"}))
    proxy.ask("RDS", "a")
    response = proxy.outstanding.pop()
    request = DeltaRequest(type_url=TYPE_URLS["RDS"], nonce=response.nonce, error="no", subscribe=("b",))
    assert proxy.send(request) == ["RDS b@1"]
    assert [type(event) for event in proxy.events()] == [Nacked]


@TAKEN_AWAY
def test_d17_a_name_asked_for_twice_is_answered_once(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short, "a", "a", "b", "b") == [f"{short} a@1 -b"]


@ROOT
def test_d17_a_wildcard_and_a_name_of_it_bring_it_once(short: str) -> None:
    assert published(snapshot(**{short: {"a": "1"}})).ask(short, "*", "a", "*") == [f"{short} a@1"]


def test_d18_the_systems_version_is_the_snapshots() -> None:
    first, second = snapshot(CDS={"a": "1"}), snapshot(CDS={"a": "1"}, LDS={"l": "1"})
    proxy = published(first)
    proxy.ask("CDS")
    proxy.publish(second)
    proxy.ask("LDS")
    assert [response.version for response in proxy.responses] == [first.version, second.version]


def test_d21_every_resource_travels_alone_so_that_a_refusal_names_one() -> None:
    proxy = published(snapshot(RDS={"a": "1", "b": "1"}, CDS={"c": "1", "d": "1"}))
    proxy.ask("RDS", "a", "b")
    proxy.ask("CDS")
    assert all(len(response.resources) == 1 for response in proxy.responses)


def test_an_old_acceptance_after_a_newer_refusal_tells_what_the_client_runs() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    proxy.ask("CDS")
    proxy.publish(snapshot(CDS={"a": "2"}))
    first, second = proxy.outstanding
    proxy.answer(second, "no")
    proxy.answer(first)
    assert proxy.publish(snapshot(CDS={"a": "1"})) == []
    assert proxy.stream.live


def test_an_acceptance_of_what_was_unsubscribed_meanwhile_is_forgotten() -> None:
    proxy = published(snapshot(RDS={"a": "1"}))
    proxy.ask("RDS", "a")
    response = proxy.outstanding.pop()
    proxy.ask("RDS", unsubscribe=["a"])
    proxy.answer(response)
    assert proxy.stream.subscriptions[TYPE_URLS["RDS"]].acked == {}
    assert proxy.ask("RDS", "a") == ["RDS a@1"]


def test_a_proxy_that_never_answers_does_not_make_the_stream_grow_without_end() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    proxy.ask("CDS")
    for text in range(2_000):
        proxy.publish(snapshot(CDS={"a": str(text)}))
    assert len(proxy.stream.subscriptions[TYPE_URLS["CDS"]].in_flight) < 200
