"""Whose turn it is to be sent a change."""

from xds.turns import Turn, Turns


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
