"""XDS.md §2: the state-of-the-world dialect."""

import pytest

from tests.unit.xds.proxies import TYPE_URLS, SotwProxy, snapshot
from xds.protocol.messages import Acked, Nacked, Node, SotwRequest, StaleNonce
from xds.snapshot import Snapshot

COMPLETE = pytest.mark.parametrize("short", ["CDS", "LDS"])
NAMED = pytest.mark.parametrize("short", ["RDS", "EDS", "SDS", "RTDS", "ECDS"])


def published(snapshot: Snapshot) -> SotwProxy:
    proxy = SotwProxy()
    proxy.publish(snapshot)
    return proxy


@COMPLETE
def test_w1_an_empty_first_request_gets_everything_in_one_response(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    assert proxy.ask(short) == [f"{short} a@1 b@1"]


@COMPLETE
def test_w2_a_change_sends_the_complete_set_in_one_response(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "1"}})) == [f"{short} a@2 b@1"]
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "1", "c": "1"}})) == [f"{short} a@2 b@1 c@1"]


@COMPLETE
def test_w2_what_is_deleted_is_left_out_and_an_empty_set_deletes_all(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"b": "1"}})) == [f"{short} b@1"]
    proxy.ack_all()
    assert proxy.publish(snapshot()) == [short]


def test_w2_scoped_routes_are_sent_as_a_complete_set_because_envoy_deletes_what_is_left_out() -> None:
    proxy = published(snapshot(SRDS={"a": "1", "b": "1"}))
    assert proxy.ask("SRDS") == ["SRDS a@1 b@1"]
    proxy.ack_all()
    assert proxy.publish(snapshot(SRDS={"a": "2", "b": "1"})) == ["SRDS a@2 b@1"]


@NAMED
def test_w3_a_change_sends_every_changed_subscribed_name_and_no_other(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1", "c": "1", "d": "1"}}))
    proxy.ask(short, "a", "b", "c")
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "1", "c": "2", "d": "2"}})) == [f"{short} a@2 c@2"]


@NAMED
def test_w3_a_deletion_sends_nothing_and_the_same_again_neither(short: str) -> None:
    both = snapshot(**{short: {"a": "1", "b": "1"}})
    proxy = published(both)
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "1"}})) == []
    assert proxy.publish(both) == []


@pytest.mark.parametrize(("short", "names"), [("CDS", ()), ("LDS", ("a",)), ("EDS", ("a",)), ("RDS", ("a",))])
def test_w4_an_ack_gets_no_response(short: str, names: tuple[str, ...]) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, *names)
    assert proxy.ack() == []
    assert proxy.stream.live


def test_w5_an_old_version_without_an_error_is_an_ack() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    proxy.ask("CDS")
    proxy.ask("CDS", version="something else", nonce=proxy.nonces[TYPE_URLS["CDS"]])
    assert [type(event) for event in proxy.events()] == [Acked]


def test_w5_the_right_version_with_an_error_is_a_nack() -> None:
    proxy = published(snapshot(RDS={"r": "1"}))
    proxy.ask("RDS", "r")
    response = proxy.outstanding.pop()
    proxy.versions[response.type_url] = response.version
    proxy.answer(response, "bad regex")
    assert [type(event) for event in proxy.events()] == [Nacked]


@pytest.mark.parametrize(("short", "names"), [("CDS", ()), ("LDS", ("a",)), ("EDS", ("a",)), ("RDS", ("a",))])
def test_w6_after_a_nack_nothing_is_sent_until_the_resources_change(short: str, names: tuple[str, ...]) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, *names)
    proxy.ack_all()
    proxy.publish(snapshot(**{short: {"a": "2"}}))
    assert proxy.nack(short) == []
    assert proxy.later(1_000) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == []
    assert proxy.publish(snapshot(**{short: {"a": "3"}})) == [f"{short} a@3"]


@pytest.mark.parametrize(("short", "names"), [("CDS", ()), ("RDS", ("a",))])
def test_w6_a_change_while_the_nack_is_in_flight_is_sent_at_once(short: str, names: tuple[str, ...]) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short, *names)
    first = proxy.outstanding.pop()
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]
    assert proxy.answer(first, "late") == []
    assert proxy.ack() == []
    assert proxy.stream.live


@pytest.mark.parametrize(("short", "names"), [("CDS", ()), ("RDS", ("a",))])
def test_w6_a_return_to_the_accepted_version_is_a_change(short: str, names: tuple[str, ...]) -> None:
    good = snapshot(**{short: {"a": "1"}})
    proxy = published(good)
    proxy.ask(short, *names)
    proxy.ack_all()
    proxy.publish(snapshot(**{short: {"a": "2"}}))
    proxy.nack(short)
    assert proxy.publish(good) == [f"{short} a@1"]
    proxy.ack_all()
    assert proxy.stream.live


def test_w6_a_refused_first_version_is_not_sent_again_and_a_mended_one_is() -> None:
    proxy = published(snapshot(LDS={"a": "1", "b": "1"}))
    proxy.ask("LDS")
    assert proxy.nack("LDS") == []
    assert proxy.publish(snapshot(LDS={"a": "2", "b": "1"})) == ["LDS a@2 b@1"]


def test_w6_a_change_of_another_resource_goes_out_with_what_was_accepted_in_place_of_what_was_refused() -> None:
    proxy = published(snapshot(CDS={"a": "1", "b": "1"}))
    proxy.ask("CDS")
    proxy.ack_all()
    proxy.publish(snapshot(CDS={"a": "2", "b": "1"}))
    proxy.nack("CDS")
    assert proxy.publish(snapshot(CDS={"a": "2", "b": "2"})) == ["CDS a@1 b@2"]
    proxy.ack_all()
    assert not proxy.stream.live


@pytest.mark.parametrize(("short", "sent"), [("RDS", ["RDS b@1"]), ("LDS", ["LDS b@1"])])
def test_w7_a_nack_with_other_names_has_them_answered_without_the_refused_one(short: str, sent: list[str]) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    (response,) = proxy.outstanding
    proxy.names[response.type_url] = ("a", "b")
    assert proxy.answer(response, "no") == sent


@COMPLETE
def test_w8_a_stale_nonce_gets_no_response_and_changes_nothing(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    stale = proxy.responses[0].nonce
    proxy.ack_all()
    proxy.publish(snapshot(**{short: {"a": "2", "b": "1"}}))
    proxy.ack_all()
    proxy.events()
    assert proxy.ask(short, "a", "b", nonce=stale) == []
    assert proxy.events() == [StaleNonce(TYPE_URLS[short])]
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "2"}})) == []


def test_w9_of_several_requests_before_the_snapshot_only_the_newest_is_answered() -> None:
    proxy = SotwProxy()
    proxy.ask("RDS", "a")
    proxy.ask("RDS", "a", "b")
    proxy.ask("RDS", "b")
    assert proxy.publish(snapshot(RDS={"a": "1", "b": "1"})) == ["RDS b@1"]


@NAMED
def test_w10_an_added_name_is_answered_although_the_version_is_the_same(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a")
    proxy.ack_all()
    assert proxy.ask(short, "a", "b") == [f"{short} b@1"]


@COMPLETE
def test_w10_an_added_name_is_answered_although_it_was_sent_unasked(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.ask(short, "*", "a") == [f"{short} a@1 b@1"]


def test_w10_an_ack_that_adds_a_name_does_both() -> None:
    proxy = published(snapshot(EDS={"a": "1", "b": "1"}))
    proxy.ask("EDS", "a")
    response = proxy.outstanding.pop()
    proxy.names[response.type_url] = ("a", "b")
    assert proxy.answer(response) == ["EDS b@1"]
    assert [type(event) for event in proxy.events()] == [Acked]


@pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])
def test_w11_a_dropped_name_gets_no_response_and_no_later_change(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "a", "b")
    proxy.ack_all()
    assert proxy.ask(short, "a") == []
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "2"}})) == []
    assert proxy.publish(snapshot(**{short: {"a": "1"}})) == []


@pytest.mark.parametrize("short", ["CDS", "LDS", "RDS", "EDS"])
def test_w12_a_name_dropped_and_taken_up_again_is_sent_again(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    proxy.ask(short, "b")
    proxy.ack_all()
    assert proxy.ask(short, "a") == [f"{short} a@1"]
    proxy.ack_all()
    proxy.ask(short)
    assert proxy.ask(short, "a") == [f"{short} a@1"]


@COMPLETE
def test_w13_the_meaning_of_an_empty_list_ends_with_the_first_name(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1", "b": "1"}}))
    assert proxy.ask(short, "*") == [f"{short} a@1 b@1"]
    assert proxy.ask(short, "*", "a") == [f"{short} a@1 b@1"]
    assert proxy.ask(short, "a") == []
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "2"}})) == []
    assert proxy.ask(short) == []
    assert proxy.publish(snapshot(**{short: {"a": "2", "b": "2"}})) == []
    assert proxy.ask(short, "*") == [f"{short} a@2 b@2"]


@COMPLETE
def test_w13_an_empty_list_stays_a_wildcard_until_a_name_comes(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    proxy.ask(short)
    proxy.ack_all()
    assert proxy.ask(short) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]


@NAMED
def test_w14_an_empty_request_of_a_named_type_subscribes_to_nothing(short: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short) == []
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == []
    assert proxy.ask(short, "a") == [f"{short} a@2"]


@pytest.mark.parametrize(
    ("short", "then"),
    [("CDS", "CDS a@1 b@1"), ("LDS", "LDS a@1 b@1"), ("RDS", "RDS b@1"), ("EDS", "EDS b@1")],
)
def test_w15_a_missing_name_does_not_hold_up_the_others_and_comes_when_it_exists(short: str, then: str) -> None:
    proxy = published(snapshot(**{short: {"a": "1"}}))
    assert proxy.ask(short, "a", "b") == [f"{short} a@1"]
    proxy.ack_all()
    assert proxy.publish(snapshot(**{short: {"a": "1", "b": "1"}})) == [then]


def test_w15_a_client_hears_at_once_that_a_listener_does_not_exist() -> None:
    assert published(snapshot(CDS={"a": "1"})).ask("LDS", "missing") == ["LDS"]


def test_w15_an_endpoint_set_that_does_not_exist_is_passed_over_in_silence() -> None:
    assert published(snapshot(CDS={"a": "1"})).ask("EDS", "missing") == []


def test_w16_the_version_changes_with_the_set_of_its_type_and_with_nothing_else() -> None:
    proxy = published(snapshot(CDS={"a": "1"}, LDS={"l": "1"}))
    proxy.ask("CDS")
    proxy.ask("LDS")
    clusters, listeners = (response.version for response in proxy.responses)
    proxy.ack_all()
    proxy.publish(snapshot(CDS={"a": "2"}, LDS={"l": "1"}))
    assert proxy.responses[-1].version != clusters
    again = published(snapshot(LDS={"l": "1"}))
    again.ask("LDS")
    assert again.responses[0].version == listeners


@COMPLETE
def test_w17_a_wildcard_that_runs_the_current_version_is_sent_nothing(short: str) -> None:
    current = snapshot(**{short: {"a": "1"}})
    proxy = published(current)
    assert proxy.ask(short, version=current.versions[TYPE_URLS[short]]) == []
    assert proxy.stream.live
    assert proxy.publish(snapshot(**{short: {"a": "2"}})) == [f"{short} a@2"]


@NAMED
def test_w17_names_are_answered_after_a_reconnect_although_the_version_is_current(short: str) -> None:
    current = snapshot(**{short: {"a": "1"}})
    proxy = published(current)
    assert proxy.ask(short, "a", version=current.versions[TYPE_URLS[short]], nonce="9") == [f"{short} a@1"]


@NAMED
def test_w17_so_are_names_that_were_asked_for_before_there_was_a_snapshot(short: str) -> None:
    current = snapshot(**{short: {"a": "1"}})
    proxy = SotwProxy()
    proxy.ask(short, "a", version=current.versions[TYPE_URLS[short]], nonce="9")
    assert proxy.publish(current) == [f"{short} a@1"]


def test_w18_a_name_asked_for_twice_is_sent_once() -> None:
    assert published(snapshot(RDS={"a": "1"})).ask("RDS", "a", "a") == ["RDS a@1"]
    assert published(snapshot(CDS={"a": "1"})).ask("CDS", "a", "*", "a") == ["CDS a@1"]


@COMPLETE
def test_w19_a_wildcard_is_answered_even_with_nothing(short: str) -> None:
    assert published(snapshot()).ask(short) == [short]


def test_a_request_without_a_nonce_between_two_responses_is_no_answer() -> None:
    proxy = published(snapshot(EDS={"a": "1", "b": "1"}))
    proxy.ask("EDS", "a")
    assert proxy.ask("EDS", "a", "b", nonce="") == ["EDS b@1"]
    assert proxy.events() == []


def test_only_the_last_of_two_responses_in_flight_can_be_accepted() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    proxy.ask("CDS")
    proxy.publish(snapshot(CDS={"a": "2"}))
    first, second = proxy.outstanding
    proxy.answer(first)
    assert not proxy.stream.live
    proxy.answer(second)
    assert proxy.stream.live


def test_a_state_of_the_world_request_may_come_without_any_field_but_its_type() -> None:
    proxy = published(snapshot(CDS={"a": "1"}))
    sent = proxy.send(SotwRequest(type_url=TYPE_URLS["CDS"], node=Node("n", "")))
    assert sent == ["CDS a@1"]


def test_w6_of_several_that_were_refused_together_the_good_ones_come_once_the_bad_one_changes() -> None:
    proxy = published(snapshot(RDS={"good": "1", "bad": "1"}))
    proxy.ask("RDS", "good", "bad")
    assert proxy.nack("RDS") == []
    sent = proxy.publish(snapshot(RDS={"good": "1", "bad": "2"}))
    assert sent == ["RDS bad@2", "RDS good@1"]
    assert proxy.ack() == []
    assert proxy.stream.live


def test_w6_and_another_bad_version_does_not_take_them_along_again() -> None:
    proxy = published(snapshot(RDS={"good": "1", "bad": "1"}))
    proxy.ask("RDS", "good", "bad")
    proxy.nack("RDS")
    proxy.publish(snapshot(RDS={"good": "1", "bad": "2"}))
    bad, good = proxy.outstanding
    proxy.answer(bad, "no")
    proxy.answer(good)
    routes = proxy.stream.subscriptions[TYPE_URLS["RDS"]]
    assert list(routes.acked) == ["good"]
    assert list(routes.refused) == ["bad"]
