"""XDS.md §1: the stream, its node and its nonces, for both dialects."""

import pytest

from tests.unit.xds.proxies import NODE, TYPE_URLS, DeltaProxy, Proxy, SotwProxy, snapshot
from xds.protocol.messages import (
    Acked,
    DeltaRequest,
    Nacked,
    Node,
    Oversized,
    Refused,
    SotwRequest,
    StaleNonce,
    UnknownType,
)
from xds.protocol.stream import Stream

BOTH = pytest.mark.parametrize("kind", [DeltaProxy, SotwProxy])
ONE = snapshot(CDS={"a": "1"}, LDS={"l": "1"})


def request(proxy: Proxy, **fields: object) -> DeltaRequest | SotwRequest:
    return (DeltaRequest if isinstance(proxy, DeltaProxy) else SotwRequest)(**fields)


@BOTH
def test_s1_later_requests_without_a_node_keep_the_first_one(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.send(request(proxy, type_url=TYPE_URLS["LDS"]))
    proxy.send(request(proxy, type_url=TYPE_URLS["RDS"], node=Node("", "")))
    assert proxy.stream.node == NODE


@BOTH
@pytest.mark.parametrize("other", [Node("edge-2", "edge"), Node("edge-1", "other")])
def test_s2_another_node_on_the_same_stream_is_refused(kind: type[Proxy], other: Node) -> None:
    proxy = kind()
    proxy.ask("CDS")
    answer = proxy.stream.receive(request(proxy, type_url=TYPE_URLS["CDS"], node=other), 0.0)
    assert isinstance(answer, Refused)
    assert "edge-1" in answer.reason


@BOTH
def test_s2_the_same_node_again_is_accepted_whatever_else_it_says_of_itself(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.ask("CDS")
    proxy.send(request(proxy, type_url=TYPE_URLS["LDS"], node=Node("edge-1", "edge", user_agent_version="2")))


@BOTH
@pytest.mark.parametrize("node", [None, Node("", ""), Node("", "edge")])
def test_s3_a_first_request_without_a_node_id_is_refused(kind: type[Proxy], node: Node | None) -> None:
    proxy = kind()
    assert isinstance(proxy.stream.receive(request(proxy, type_url=TYPE_URLS["CDS"], node=node), 0.0), Refused)


@BOTH
def test_s4_an_aggregated_request_without_a_type_is_refused(kind: type[Proxy]) -> None:
    proxy = kind()
    assert isinstance(proxy.stream.receive(request(proxy, node=NODE), 0.0), Refused)


@BOTH
def test_s5_on_a_single_type_stream_no_type_means_that_type(kind: type[Proxy]) -> None:
    proxy = kind("CDS")
    proxy.publish(ONE)
    assert proxy.send(request(proxy, node=NODE)) == ["CDS a@1"]


@BOTH
def test_s5_on_a_single_type_stream_another_type_is_refused(kind: type[Proxy]) -> None:
    proxy = kind("LDS")
    answer = proxy.stream.receive(request(proxy, node=NODE, type_url=TYPE_URLS["CDS"]), 0.0)
    assert isinstance(answer, Refused)


@BOTH
def test_s6_an_unknown_type_is_counted_and_the_others_go_on(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    assert proxy.send(request(proxy, node=NODE, type_url="type.googleapis.com/x.Y")) == []
    assert proxy.events() == [UnknownType("type.googleapis.com/x.Y")]
    assert proxy.ask("CDS") == ["CDS a@1"]


@BOTH
def test_s7_a_refusal_of_one_type_changes_nothing_for_another(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(snapshot(CDS={"a": "1"}, RDS={"r": "1"}))
    proxy.ask("CDS")
    proxy.ask("RDS", "r")
    proxy.ack_all()
    assert proxy.publish(snapshot(CDS={"a": "2"}, RDS={"r": "1"})) == ["CDS a@2"]
    assert proxy.nack("CDS") == []
    assert proxy.publish(snapshot(CDS={"a": "2"}, RDS={"r": "2"})) == ["RDS r@2"]


def test_s7_a_stale_nonce_of_one_type_changes_nothing_for_another() -> None:
    proxy = SotwProxy()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.ask("LDS")
    clusters, listeners = proxy.outstanding
    proxy.ask("CDS", nonce=listeners.nonce)
    assert proxy.events() == [StaleNonce(TYPE_URLS["CDS"])]
    proxy.answer(clusters)
    assert [type(event) for event in proxy.events()] == [Acked]


@BOTH
def test_s8_nonces_are_never_empty_and_unique_within_the_stream(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.ask("LDS")
    for text in "2345":
        proxy.ack_all()
        proxy.publish(snapshot(CDS={"a": text, "b": text}, LDS={"l": text}))
    nonces = [response.nonce for response in proxy.responses]
    assert all(nonces)
    assert len(nonces) == len(set(nonces))


@BOTH
def test_s8_the_nonce_of_an_earlier_stream_counts_as_none(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    assert proxy.ask("CDS", nonce="17") == ["CDS a@1"]
    assert proxy.events() == []


@BOTH
def test_s10_before_the_first_snapshot_nothing_is_answered(kind: type[Proxy]) -> None:
    proxy = kind()
    assert proxy.ask("CDS") == []
    assert proxy.ask("RDS", "r") == []
    assert not proxy.stream.live


@BOTH
def test_s10_the_first_snapshot_answers_what_was_asked_before_it_in_order(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.ask("RDS", "r")
    proxy.ask("LDS")
    proxy.ask("CDS")
    proxy.ask("EDS", "a")
    sent = proxy.publish(snapshot(CDS={"a": "1"}, EDS={"a": "1"}, LDS={"l": "1"}, RDS={"r": "1"}))
    assert sent == ["CDS a@1", "EDS a@1", "LDS l@1", "RDS r@1"]


@BOTH
def test_s12_what_the_client_cannot_receive_is_refused_instead_of_sent(kind: type[Proxy]) -> None:
    proxy = kind(limit=2_000)
    proxy.publish(snapshot(RDS={"big": "x" * 3_000, "small": "1"}))
    assert proxy.ask("RDS", "big") == []
    event = proxy.events()[-1]
    assert isinstance(event, Oversized)
    assert event.names == ("big",)
    assert event.size > 3_000
    assert proxy.ask("RDS", "big", "small") == ["RDS small@1"]
    proxy.ack_all()
    assert not proxy.stream.live
    assert proxy.publish(snapshot(RDS={"big": "2", "small": "1"})) == ["RDS big@2"]
    proxy.ack_all()
    assert proxy.stream.live


@BOTH
def test_an_answer_is_reported_with_the_time_that_it_took(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.later(1.5)
    (response,) = proxy.outstanding
    proxy.ack()
    assert proxy.events() == [Acked(response, 1.5)]


@BOTH
def test_a_refusal_is_reported_in_the_proxys_words_with_the_place_in_the_policy(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.nack("CDS", "duplicate address")
    (event,) = proxy.events()
    assert isinstance(event, Nacked)
    assert event.message == "duplicate address"
    assert str(event.response.resources[0].origin) == "edge.yaml:1"


@BOTH
def test_a_refusal_without_words_is_a_refusal(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.nack("CDS", "")
    assert [type(event) for event in proxy.events()] == [Nacked]
    assert not proxy.stream.live


@BOTH
def test_a_proxy_is_live_once_it_has_accepted_everything_and_not_before(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(snapshot(CDS={"a": "1", "b": "1"}))
    assert not proxy.stream.live
    proxy.ask("CDS")
    assert not proxy.stream.live
    proxy.ack_all()
    assert proxy.stream.live
    proxy.publish(snapshot(CDS={"a": "2", "b": "1"}))
    assert not proxy.stream.live
    proxy.nack("CDS")
    assert not proxy.stream.live
    proxy.publish(snapshot(CDS={"a": "3", "b": "1"}))
    proxy.ack_all()
    assert proxy.stream.live


@BOTH
def test_the_same_configuration_published_again_sends_nothing(kind: type[Proxy]) -> None:
    proxy = kind()
    proxy.publish(ONE)
    proxy.ask("CDS")
    proxy.ask("LDS")
    proxy.ack_all()
    assert proxy.publish(snapshot(CDS={"a": "1"}, LDS={"l": "1"})) == []
    assert proxy.stream.live


def test_a_stream_needs_no_clock_to_be_made() -> None:
    stream: Stream[DeltaRequest] = DeltaProxy().stream
    assert stream.deadline is None
    assert stream.tick(1e9) == []
