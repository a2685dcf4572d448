"""Whose turn it is to be sent a change."""

from tests.unit.xds.proxies import snapshot
from xds.turns import Turn, Turns, Weights


class Queue:
    def __init__(self, at_once: int) -> None:
        self.pending: list[int] = []
        self.turns = Turns(at_once, self.pending.append)
        self.woken: list[str] = []

    def ask(self, name: str) -> Turn:
        return self.turns.ask(lambda: self.woken.append(name))


def test_so_many_go_at_once_and_the_others_in_the_order_in_which_they_asked() -> None:
    queue = Queue(2)
    first, second, third, fourth = (queue.ask(name) for name in "abcd")
    assert [each.granted for each in (first, second, third, fourth)] == [True, True, False, False]
    assert queue.woken == []
    queue.turns.give_back(second)
    queue.turns.give_back(first)
    assert queue.woken == ["c", "d"]
    assert third.granted
    assert fourth.granted


def test_who_wants_nothing_any_more_is_passed_over() -> None:
    queue = Queue(1)
    first, second, third = (queue.ask(name) for name in "abc")
    queue.turns.give_back(second)
    queue.turns.give_back(first)
    assert queue.woken == ["c"]
    assert third.granted


def test_giving_back_twice_frees_one_place() -> None:
    queue = Queue(1)
    first, _, third = (queue.ask(name) for name in "abc")
    queue.turns.give_back(first)
    queue.turns.give_back(first)
    assert not third.granted


def test_how_many_wait_is_told() -> None:
    queue = Queue(1)
    first, second, third = (queue.ask(name) for name in "abc")
    queue.turns.give_back(third)
    queue.turns.give_back(first)
    queue.turns.give_back(second)
    assert queue.pending == [1, 2, 1, 0]
    assert queue.ask("d").granted


def test_large_changes_go_to_fewer_at_once() -> None:
    turns, woken = Turns(8, most_bytes=100), list[str]()
    first, second, third, fourth = (
        turns.ask(lambda name=name: woken.append(name), weight)  # type: ignore[misc]
        for name, weight in (("a", 60), ("b", 40), ("c", 60), ("d", 1))
    )
    assert [each.granted for each in (first, second, third, fourth)] == [True, True, False, False]
    turns.give_back(second)
    # Whoever is next has no room yet, and nobody overtakes.
    assert woken == []
    turns.give_back(first)
    assert woken == ["c", "d"]


def test_one_stream_may_send_however_much_it_is() -> None:
    turns = Turns(8, most_bytes=100)
    huge, small = turns.ask(lambda: None, 1_000), turns.ask(lambda: None, 1)
    assert (huge.granted, small.granted) == (True, False)
    turns.give_back(huge)
    assert small.granted


def test_a_weight_is_what_changed_and_for_whole_sets_all_of_the_type() -> None:
    before = snapshot(CDS={"same": "1" * 10, "moved": "1" * 20, "gone": "1" * 40}, RDS={"routes": "1" * 80})
    after = snapshot(CDS={"same": "1" * 10, "moved": "2" * 20, "new": "2" * 160}, RDS={"routes": "1" * 80})
    weights = Weights()
    assert weights.of(before, after, whole_sets=False) == 180
    assert weights.of(before, after, whole_sets=True) == 190
    assert weights.of(after, after, whole_sets=True) == 0
