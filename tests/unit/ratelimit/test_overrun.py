"""Costs that are known late: what a refused request still spends, and what it never gives back."""

from dataclasses import replace

from ratelimit.algorithms import FixedWindow
from ratelimit.matching import Plan, plan
from ratelimit.request import Descriptor, Request
from ratelimit.rules import DomainRules, Node, Rule
from ratelimit.store import Outcome

RULES = DomainRules(
    "d",
    Node(any_value={name: Node(Rule(name, FixedWindow(10, 60_000_000))) for name in ("user", "company")}),
    overrun=True,
)


def planned(user: int, company: int) -> Plan:
    asked = Request("d", (Descriptor((("user", "a"),), user), Descriptor((("company", "b"),), company)))
    return plan(asked, {"d": RULES})


def test_what_is_left_of_each_limit_is_spent_up_to_the_cost() -> None:
    rest = planned(8, 8).rest(Outcome(False, [(False, 3, 0, 1), (True, 9, 0, 1)]))
    assert rest is not None
    assert [(charge.hits, charge.enforced) for charge in rest.charges] == [(3, False), (8, False)]


def test_a_refused_request_gives_nothing_back() -> None:
    rest = planned(8, -5).rest(Outcome(False, [(False, 3, 0, 1), (True, 10, 0, 1)]))
    assert rest is not None
    assert [charge.hits for charge in rest.charges] == [3]
    assert planned(1, -5).rest(Outcome(False, [(False, 0, 0, 1), (True, 10, 0, 1)])) is None


def test_nothing_is_spent_afterwards_by_what_passed_or_where_it_is_not_wanted() -> None:
    assert planned(8, 8).rest(Outcome(True, [(True, 2, 0, 1), (True, 2, 0, 1)])) is None
    assert replace(planned(8, 8), overrun=False).rest(Outcome(False, [(False, 3, 0, 1), (True, 9, 0, 1)])) is None
