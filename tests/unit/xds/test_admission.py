"""Which streams may start, and when."""

from dataclasses import fields, replace

import pytest

from xds.admission import LONGEST_WAIT_SECONDS, Admission, Denial, Pace, Rate, ServerLimits, age_of
from xds.protocol.messages import Node

NODE = Node("edge-1", "edge")


def reason(answer: float | Denial | None) -> str:
    assert isinstance(answer, Denial)
    return answer.reason


def test_as_many_as_a_second_admits_start_at_once() -> None:
    admission = Admission(ServerLimits(admissions_per_second=10))
    assert [admission.enter(0.0) for _ in range(10)] == [0.0] * 10


def test_those_beyond_wait_up_to_a_second_one_behind_the_other_and_the_rest_come_back_later() -> None:
    admission = Admission(ServerLimits(admissions_per_second=8))
    waits = [admission.enter(0.0) for _ in range(17)]
    assert waits[:8] == [0.0] * 8
    assert waits[8:16] == [0.125 * number for number in range(1, 9)]
    assert reason(waits[16]) == "rate"
    assert admission.open == 16


def test_a_refused_start_consumes_nothing() -> None:
    admission = Admission(ServerLimits(admissions_per_second=8))
    for _ in range(16):
        admission.enter(0.0)
    for _ in range(100):
        assert reason(admission.enter(0.0)) == "rate"
    assert admission.enter(0.25) == 0.875


def test_after_a_quiet_second_a_storm_is_let_in_as_before() -> None:
    admission = Admission(ServerLimits(admissions_per_second=10))
    for _ in range(10):
        admission.enter(0.0)
    assert [admission.enter(5.0) for _ in range(10)] == [0.0] * 10
    assert admission.enter(5.0) == pytest.approx(0.1)


def test_less_than_one_stream_a_second_is_a_rate_too() -> None:
    admission = Admission(ServerLimits(admissions_per_second=0.5))
    assert admission.enter(0.0) == 0.0
    assert reason(admission.enter(0.5)) == "rate"
    assert admission.enter(1.5) == pytest.approx(0.5)
    assert LONGEST_WAIT_SECONDS == 1.0


def test_a_server_has_so_many_places_and_whoever_leaves_makes_room() -> None:
    admission = Admission(ServerLimits(max_connections=2))
    assert [admission.enter(0.0), admission.enter(0.0)] == [0.0, 0.0]
    assert admission.identify(NODE) is None
    assert reason(admission.enter(0.0)) == "streams"
    admission.leave(NODE)
    assert admission.enter(0.0) == 0.0


def test_those_who_do_not_say_who_they_are_take_only_so_many_places() -> None:
    admission = Admission(ServerLimits(max_silent_streams=2))
    assert [admission.enter(0.0), admission.enter(0.0)] == [0.0, 0.0]
    assert reason(admission.enter(0.0)) == "silent_streams"
    assert admission.identify(NODE) is None
    assert admission.enter(0.0) == 0.0
    admission.leave(None)
    assert admission.silent == 1


def test_one_node_cannot_take_every_place() -> None:
    admission = Admission(ServerLimits(max_streams_per_node=2))
    for _ in range(4):
        admission.enter(0.0)
    assert [admission.identify(NODE), admission.identify(NODE)] == [None, None]
    assert reason(admission.identify(NODE)) == "node_streams"
    assert admission.identify(Node("edge-1", "other")) is None
    admission.leave(NODE)
    admission.enter(0.0)
    assert admission.identify(NODE) is None


def test_after_all_have_left_nothing_is_kept_of_anybody() -> None:
    admission = Admission(ServerLimits())
    for number in range(50):
        admission.enter(0.0)
        node = Node(f"edge-{number}", "edge")
        admission.identify(node)
        admission.leave(node)
    assert (admission.open, admission.silent, len(admission._by_node)) == (0, 0, 0)


def test_a_stream_may_send_a_burst_of_requests_and_is_slowed_down_beyond_it() -> None:
    pace = Pace(ServerLimits(requests_per_second=10))
    assert [pace.read(10, 0.0) for _ in range(99)] == [0.0] * 99
    assert pace.read(10, 0.0) == pytest.approx(0.1)
    assert pace.read(10, 0.1) == pytest.approx(0.1)
    assert pace.read(10, 60.0) == 0.0


def test_a_large_request_counts_as_many() -> None:
    pace = Pace(ServerLimits(requests_per_second=1000))
    assert pace.read(32 * 2**20, 0.0) == 0.0
    assert pace.read(32 * 2**20, 0.0) > 5


def test_a_rate_never_saves_up_more_than_its_burst() -> None:
    rate = Rate(per_second=1.0, burst=2)
    rate.take(0.0)
    assert rate.wait(1000.0) == 0.0
    rate.take(1000.0)
    rate.take(1000.0)
    assert rate.wait(1000.0) == pytest.approx(1.0)


def test_a_connection_lives_as_long_as_it_is_let_give_or_take_a_tenth() -> None:
    limits = ServerLimits(max_connection_age_seconds=100.0)
    assert age_of(ServerLimits(), 0.5) is None
    assert [age_of(limits, draw) for draw in (0.0, 0.5, 1.0)] == [90.0, 100.0, pytest.approx(110.0)]


@pytest.mark.parametrize("limit", [field.name for field in fields(ServerLimits)])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_that_would_let_nobody_in_is_refused(limit: str, value: float) -> None:
    with pytest.raises(ValueError, match=limit):
        replace(ServerLimits(), **{limit: value})


@pytest.mark.parametrize(
    "node",
    [
        Node("edge-1\n[info] all is well", "edge"),
        Node("edge-1", "edge\x1b[2J"),
        Node("edge-\u202e1", "edge"),
        Node("x" * 20_000, "edge"),
        Node("edge-1", "edge", user_agent="x" * 20_000),
        Node("edge-1", "edge", region="x" * 10_000, zone="\u00fc" * 5_000),
        Node("edge-1", "edge", client_features=frozenset(f"feature-{number}" for number in range(2_000))),
    ],
    ids=["another line", "terminal", "direction", "id", "user agent", "place", "features"],
)
def test_what_a_node_says_of_itself_can_be_kept_and_shown(node: Node) -> None:
    admission = Admission(ServerLimits())
    assert admission.enter(0.0) == 0.0
    assert reason(admission.identify(node)) == "node"
    assert (admission.open, admission.silent) == (1, 1)


def test_a_node_may_be_called_by_any_name_that_is_readable() -> None:
    admission = Admission(ServerLimits())
    for node in (Node("Zürich 1/α", "edge"), Node("10.0.0.1:80_東京", "edge", user_agent="envoy")):
        admission.enter(0.0)
        assert admission.identify(node) is None
