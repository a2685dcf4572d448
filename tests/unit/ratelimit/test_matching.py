"""From descriptors to counters: which rule fits, and that no two subjects share a counter."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Period, SlidingWindow
from ratelimit.matching import counter_key, plan
from ratelimit.request import Descriptor, Override, Request, Unit
from ratelimit.rules import DomainRules, Headers, Node, Pattern, Rule

LIMIT = FixedWindow(1, 1_000_000)
RULE = Node(Rule("r", LIMIT))
texts = st.text(max_size=8) | st.sampled_from(["", "_", ":", "|", "}", "{", "a:b", "a_b", "\x00"])
entries = st.lists(st.tuples(texts, texts), min_size=1, max_size=3).map(tuple)


@given(texts, entries, texts, entries)
def test_no_spelling_of_a_value_makes_two_subjects_share_a_counter(
    domain: str, one: tuple[tuple[str, str], ...], other_domain: str, other: tuple[tuple[str, str], ...]
) -> None:
    same = (domain, one) == (other_domain, other)
    assert (counter_key(domain, one, LIMIT) == counter_key(other_domain, other, LIMIT)) == same


def test_separators_in_values_move_nothing_from_one_entry_to_the_next() -> None:
    spellings = [
        (("a", "b"), ("c", "d")),
        (("a", "bc"), ("", "d")),
        (("ab", ""), ("c", "d")),
        (("a", "b:c:d"),),
        (("a", "b\x00c\x00d"),),
        (("a", "b_c"), ("d", "")),
    ]
    assert len({counter_key("x", each, LIMIT) for each in spellings}) == len(spellings)


@given(texts, st.tuples(texts, st.text(max_size=5000)).map(lambda entry: (entry,)))
def test_a_key_is_short_and_tells_nothing_of_the_descriptor(domain: str, one: tuple[tuple[str, str], ...]) -> None:
    key = counter_key(domain, one, LIMIT)
    assert len(key) <= 100
    assert key.count(b"{") == key.count(b"}") == 1


def test_a_key_names_its_gateway_and_keeps_a_secret_value_to_itself() -> None:
    key = counter_key("marketing", (("caller", "partner:wk_live_secret"),), LIMIT)
    assert key.startswith(b"rl:{marketing}:f:")
    assert b"secret" not in key


def test_another_figure_keeps_the_counter_and_another_algorithm_or_unit_begins_one() -> None:
    def key(limit: Gcra | FixedWindow | SlidingWindow | CalendarQuota) -> bytes:
        return counter_key("x", (("a", "b"),), limit)

    assert key(FixedWindow(1, 60)) == key(FixedWindow(9, 60))
    assert key(Gcra(1, 60, 0)) == key(Gcra(9, 60, 7))
    assert key(CalendarQuota(1, Period.DAY)) == key(CalendarQuota(9, Period.DAY, "Asia/Kolkata"))
    kinds = [FixedWindow(1, 60), SlidingWindow(1, 60), Gcra(1, 60, 0), CalendarQuota(1, Period.DAY)]
    kinds += [FixedWindow(1, 3600), SlidingWindow(1, 3600), Gcra(1, 3600, 0), CalendarQuota(1, Period.MONTH)]
    assert len({key(limit) for limit in kinds}) == 8


def test_the_exact_value_goes_before_the_prefix_and_the_prefix_before_any() -> None:
    exact, prefix, any_value = (Node(Rule(name, LIMIT)) for name in ("exact", "prefix", "any"))
    root = Node(exact={("k", "foo"): exact}, wildcard=(("k", Pattern.of("fo*"), prefix),), any_value={"k": any_value})
    matches = {value: root.match((("k", value),)) for value in ("foo", "foobar", "bar")}
    assert {value: rule.name for value, rule in matches.items() if rule} == {
        "foo": "exact",
        "foobar": "prefix",
        "bar": "any",
    }
    assert root.match((("other", "foo"),)) is None


@pytest.mark.parametrize("path", [(), (("a", "1"),), (("a", "1"), ("b", "2"), ("c", "3")), (("b", "2"), ("a", "1"))])
def test_a_rule_is_for_its_whole_descriptor_and_for_nothing_else(path: tuple[tuple[str, str], ...]) -> None:
    root = Node(any_value={"a": Node(any_value={"b": Node(Rule("pair", LIMIT))})})
    assert root.match((("a", "1"), ("b", "2"))) is not None
    assert root.match(path) is None


def test_a_plan_has_a_rule_or_none_for_each_descriptor_and_charges_only_limits() -> None:
    limited, unlimited, shadow = Rule("l", LIMIT), Rule("u", None), Rule("s", LIMIT, shadow=True)
    root = Node(exact={("k", rule.name): Node(rule) for rule in (limited, unlimited, shadow)})
    descriptors = tuple(Descriptor((("k", name),), 3) for name in ("x", "u", "s", "l"))
    planned = plan(Request("d", descriptors), {"d": DomainRules("d", root, Headers.ALWAYS)})
    assert planned.rules == (None, unlimited, shadow, limited)
    assert planned.limited == (shadow, limited)
    assert [(charge.hits, charge.enforced) for charge in planned.charges] == [(3, False), (3, True)]
    assert plan(Request("other", descriptors), {"d": DomainRules("d", root)}).charges == ()


@pytest.mark.parametrize("unit", Unit)
def test_an_override_is_a_fixed_window_of_its_unit(unit: Unit) -> None:
    request = Request("d", (Descriptor((("k", "v"),), 1, Override(7, unit)),))
    planned = plan(request, {"d": DomainRules("d", Node())})
    assert planned.charges[0].limit == FixedWindow(7, unit.microseconds)
    assert planned.rules[0] is not None
    assert planned.rules[0].unit is unit


@pytest.mark.parametrize("strict", [False, True])
def test_what_no_rule_fits_passes_unless_its_domain_is_strict(strict: bool) -> None:
    domain = DomainRules("d", Node(any_value={"k": Node(any_value={"l": Node(Rule("r", LIMIT))})}), strict=strict)
    unmatched = Request("d", (Descriptor((("x", "1"),)), Descriptor((("k", "1"),))))
    planned = plan(unmatched, {"d": domain})
    assert [charge.limit.amount for charge in planned.charges] == ([0, 0] if strict else [])
    assert planned.fails_open is not strict
    matched = plan(Request("d", (Descriptor((("k", "1"), ("l", "2"))),)), {"d": domain})
    assert matched.charges[0].limit == LIMIT


@pytest.mark.parametrize(
    ("pattern", "fitting", "others"),
    [
        ("foo*", ["foo", "foo1", "foo*"], ["fo", "bar", "xfoo"]),
        ("*foo", ["foo", "xfoo", "foofoo"], ["foo1"]),
        ("/api/*/action", ["/api/1/action", "/api//action", "/api/a/b/action"], ["/api/action", "/api/1/other"]),
        ("/a/*/b/*/c", ["/a/1/b/2/c", "/a/b/b/b/c"], ["/a/1/c", "/a/b/2/c", "/a/1/b/c"]),
        ("ab*ba", ["abba", "abxba"], ["aba", "ab", "ba"]),
        ("*", ["", "x"], []),
        ("a**b", ["ab", "axb"], ["a", "b"]),
    ],
)
def test_each_star_of_a_pattern_stands_for_any_text(pattern: str, fitting: list[str], others: list[str]) -> None:
    made = Pattern.of(pattern)
    assert [value for value in (*fitting, *others) if made.fits(value)] == fitting


@given(st.text("ab*", max_size=6).filter(lambda text: "*" in text), st.text("ab", max_size=8))
def test_a_pattern_fits_what_the_regular_expression_fits(pattern: str, value: str) -> None:
    meant = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value, re.DOTALL)
    assert Pattern.of(pattern).fits(value) == (meant is not None)


def test_a_limit_that_comes_with_the_request_never_shares_its_counter_with_the_rule_or_another_unit() -> None:
    entries = (("k", "v"),)
    overrides = [None, *(Override(7, unit) for unit in Unit), Override(8, Unit.DAY)]
    request = Request("d", tuple(Descriptor(entries, 1, override) for override in overrides))
    keys = [charge.key for charge in plan(request, {"d": DomainRules("d", Node(any_value={"k": RULE}))}).charges]
    assert keys[-1] == keys[1 + list(Unit).index(Unit.DAY)]
    assert len(set(keys[:-1])) == len(keys) - 1
    assert max(map(len, keys)) <= 100
