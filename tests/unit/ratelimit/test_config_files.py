"""Files in envoyproxy/ratelimit's format: read as their authors meant them, refused with file and line."""

from pathlib import Path

import pytest

from policy.problem import PolicyError, Source
from ratelimit.algorithms import FixedWindow
from ratelimit.config_files import FileOptions, load_rules, read_folder
from ratelimit.matching import Plan, plan
from ratelimit.request import Descriptor, Override, Request, Unit
from ratelimit.rules import DomainRules, Headers, Node, Rule
from ratelimit.store import Outcome

SECOND = 1_000_000

MESSAGING = """\
domain: messaging
descriptors:
  - key: message_type
    value: marketing
    descriptors:
      - key: to_number
        rate_limit:
          unit: day
          requests_per_unit: 5
  - key: to_number
    rate_limit: {unit: DAY, requests_per_unit: 100}
  - key: status
    value: 200
    rate_limit: {unit: second, requests_per_unit: 7}
  - key: path
    value: /foo*
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 3}
  - key: path
    value: /bar*
    shadow_mode: true
    detailed_metric: true
    rate_limit: {unit: hour, requests_per_unit: 4}
  - key: listed
    value: always
  - key: free
    rate_limit: {unlimited: true}
"""


def rules(*texts: str, merge: bool = False) -> dict[str, DomainRules]:
    return load_rules(
        [Source(f"{index}.yaml", text) for index, text in enumerate(texts)], FileOptions(merge_domains=merge)
    )


def planned(*descriptors: tuple[tuple[str, str], ...], domain: str = "messaging", of: str = MESSAGING) -> Plan:
    return plan(Request(domain, tuple(Descriptor(entries) for entries in descriptors)), rules(of))


def limit_of(*entries: tuple[str, str]) -> object:
    (rule,) = planned(entries).rules
    return rule if rule is None else rule.limit


def test_descriptors_are_read_as_they_are_nested() -> None:
    assert limit_of(("message_type", "marketing"), ("to_number", "1")) == FixedWindow(5, 86_400 * SECOND)
    assert limit_of(("to_number", "1")) == FixedWindow(100, 86_400 * SECOND)
    assert limit_of(("message_type", "marketing")) is None
    assert limit_of(("listed", "always")) is None
    assert limit_of(("status", "200")) == FixedWindow(7, SECOND)
    (free,) = planned((("free", "x"),)).rules
    assert free is not None
    assert free.limit is None


def test_values_that_begin_alike_share_a_counter_only_where_they_are_told_to() -> None:
    keys = [planned((("path", path),)).charges[0].key for path in ("/foo", "/foo/1", "/bar/1", "/bar/2")]
    assert len(set(keys)) == 3
    assert keys[0] == keys[1]
    assert [planned((("path", path),)).charges[0].enforced for path in ("/foo", "/bar")] == [True, False]


def test_a_rule_that_replaces_another_counts_in_its_place() -> None:
    text = """\
domain: d
descriptors:
  - {key: banned, rate_limit: {name: ban, unit: minute, requests_per_unit: 0}}
  - {key: pardoned, rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: ban}]}}
"""
    banned, pardoned = (("banned", "a"),), (("pardoned", "a"),)
    assert [rule.amount for rule in planned(banned, domain="d", of=text).limited] == [0]
    both = planned(banned, pardoned, domain="d", of=text)
    assert both.rules[0] is None
    assert [rule.amount for rule in both.limited] == [2]


def test_a_rule_is_called_by_its_name_or_else_by_its_place() -> None:
    names = [rule.name for rule in planned((("message_type", "marketing"), ("to_number", "1"))).limited]
    assert names == ["message_type_marketing.to_number"]


ALWAYS = FileOptions(form=DomainRules("", Node(), Headers.ALWAYS))


def test_headers_are_off_unless_asked_for() -> None:
    assert rules(MESSAGING)["messaging"].headers is Headers.NEVER
    assert load_rules([Source("a", MESSAGING)], ALWAYS)["messaging"].headers is Headers.ALWAYS


ONE = "domain: d\ndescriptors:\n"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        (ONE + "  - {key: a, rate_limit: {unit: fortnight, requests_per_unit: 1}}", "2|3", "unit"),
        (ONE + "  - {key: a, rate_limit: {requests_per_unit: 1}}", "3", "needs a unit"),
        (ONE + "  - {key: ''}", "3", "key"),
        (ONE + "  - {value: a}", "3", "missing"),
        ("domain: ''\ndescriptors: []", "1", "domain"),
        ("descriptors: []", "1", "missing"),
        (ONE + "  - {key: a}\n  - {key: a}", "4", "duplicate descriptor composite key 'a'"),
        (ONE + "  - {key: a, value: b}\n  - {key: a, value: b}", "4", "duplicate descriptor composite key 'a_b'"),
        (ONE + "  - {key: a, ratelimit: {}}", "3", "unknown field"),
        (ONE + "  - {key: a, 5: b}", "3", ""),
        (ONE + "  - a\n  - b", "3", ""),
        (ONE + "  - {key: a, rate_limit: {unlimited: true, unit: second}}", "3", "no unit"),
        (ONE + "  - {key: a, rate_limit: {name: x, unit: day, replaces: [{name: x}]}}", "3", "cannot replace itself"),
        (ONE + "  - {key: a, rate_limit: {unit: day, replaces: [{name: ''}]}}", "3", ""),
        (ONE + "  - {key: a, value: b, share_threshold: true}", "3", "only values with a *"),
        (ONE + "  - {key: a, rate_limit: {unit: day, requests_per_unit: -1}}", "3", ""),
        (ONE + "  - {key: a, rate_limit: {unit: day, requests_per_unit: 4294967296}}", "3", ""),
        (ONE + "  - {key: a, rate_limit: {unit: day, requests_per_unit: many}}", "3", ""),
        (ONE + "  - {key: 'a*', rate_limit: {unit: day, requests_per_unit: 1}}", "3", "a key stands for itself"),
        (ONE + "  - {key: a", "", ""),
        ("just text", "1", ""),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_line(text: str, place: str, words: str) -> None:
    with pytest.raises(PolicyError) as raised:
        rules(text)
    assert words in str(raised.value)
    assert any(str(problem.position.line) in place.split("|") or not place for problem in raised.value.problems)
    assert {problem.position.file for problem in raised.value.problems} == {"0.yaml"}


def test_all_mistakes_of_all_files_are_told_at_once() -> None:
    with pytest.raises(PolicyError) as raised:
        rules(ONE + "  - {key: ''}\n  - {kye: a}", "domain: ''")
    assert {problem.position.file for problem in raised.value.problems} == {"0.yaml", "1.yaml"}
    assert len(raised.value.problems) >= 3


def test_a_domain_stands_in_one_file_unless_they_are_to_be_merged() -> None:
    first, second = ONE + "  - {key: a}", ONE + "  - {key: b, rate_limit: {unit: day, requests_per_unit: 1}}"
    with pytest.raises(PolicyError, match="second file for the domain 'd'"):
        rules(first, second)
    merged = rules(first, second, merge=True)
    assert merged["d"].root.match((("b", "x"),)) is not None
    with pytest.raises(PolicyError, match="already"):
        rules(first, first, merge=True)


def test_a_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "messaging.yaml").write_text(MESSAGING)
    (tmp_path / "other.yml").write_text("domain: other\n")
    (tmp_path / "README.md").write_text("no configuration")
    assert set(read_folder(tmp_path)) == {"messaging", "other"}


def test_a_deep_or_self_made_maze_of_descriptors_is_refused_and_harms_nothing() -> None:
    deep = "domain: d\ndescriptors: " + "[{key: a, descriptors: " * 500 + "[]" + "}]" * 500
    bomb = "domain: d\ndescriptors: &a [{key: a, descriptors: *a}]"
    for text in (deep, bomb):
        with pytest.raises(PolicyError):
            rules(text)


def rule_of(text: str, *entries: tuple[str, str]) -> Rule:
    (rule,) = planned(entries, domain="d", of=ONE + text).rules
    assert rule is not None
    return rule


@pytest.mark.parametrize(
    ("written", "sent"),
    [("007", "007"), ("+1206", "+1206"), ("0x1F", "0x1F"), ("True", "True"), ("200", "200"), ("no", "no")],
)
def test_a_value_is_the_text_that_is_written_whatever_it_looks_like(written: str, sent: str) -> None:
    text = f"  - {{key: 404, value: {written}, rate_limit: {{unit: day, requests_per_unit: 3}}}}"
    assert rule_of(text, ("404", sent)).amount == 3


def test_what_is_null_is_as_if_it_were_not_written() -> None:
    text = """\
  - key: a
    value: ~
    rate_limit: {unit: day, requests_per_unit: 3, name: null, replaces: null}
    shadow_mode:
    descriptors:
"""
    assert rule_of(text, ("a", "any")).shadow is False
    with pytest.raises(PolicyError, match="unknown field"):
        rules(ONE + "  - {key: a, shade: true}")


def test_a_pattern_has_its_stars_anywhere_and_its_values_share_where_they_are_told_to() -> None:
    text = (
        ONE
        + """\
  - key: path
    value: /api/*/action
    share_threshold: true
    descriptors:
      - {key: method, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: path, value: "/api/*/*", rate_limit: {unit: minute, requests_per_unit: 4}}
"""
    )

    def key(*entries: tuple[str, str]) -> bytes:
        return planned(entries, domain="d", of=text).charges[0].key

    assert key(("path", "/api/1/action"), ("method", "GET")) == key(("path", "/api/2/action"), ("method", "GET"))
    assert key(("path", "/api/1/action"), ("method", "GET")) != key(("path", "/api/1/action"), ("method", "PUT"))
    assert key(("path", "/api/1/x")) != key(("path", "/api/2/x"))


def test_only_a_rule_that_was_given_a_name_can_be_replaced() -> None:
    text = (
        ONE
        + """\
  - {key: banned, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: pardoned, rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: banned}]}}
"""
    )
    both = planned((("banned", "a"),), (("pardoned", "a"),), domain="d", of=text)
    assert [rule.amount for rule in both.limited] == [0, 2]


QUOTAS = (
    ONE
    + """\
  - {key: one, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}
  - {key: two, quota_mode: true, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: plain, rate_limit: {unit: minute, requests_per_unit: 3}}
"""
)


def test_quotas_refuse_only_all_together_and_a_single_one_like_any_limit() -> None:
    one, two, plain = (("one", "a"),), (("two", "a"),), (("plain", "a"),)
    assert [charge.enforced for charge in planned(one, plain, domain="d", of=QUOTAS).charges] == [True, True]
    both = planned(plain, one, two, domain="d", of=QUOTAS)
    assert [charge.enforced for charge in both.charges] == [True, False, False]
    room, none = (True, 1, 0, 1), (False, 0, 1, 1)
    assert both.settled(Outcome(True, [room, none, room])).admitted
    assert not both.settled(Outcome(True, [room, none, none])).admitted
    assert not both.settled(Outcome(False, [none, room, room])).admitted


def test_nothing_is_refused_where_everything_is_in_shadow() -> None:
    made = load_rules([Source("a", QUOTAS)], FileOptions(shadow=True))
    own = Descriptor((("x", "y"),), 1, Override(1, Unit.DAY))
    asked = Request("d", (Descriptor((("plain", "a"),)), Descriptor((("one", "a"),)), own))
    planned = plan(asked, made)
    assert [charge.enforced for charge in planned.charges] == [False] * 3
    assert planned.fails_open


TOLD = """\
domain: d
descriptors:
  - key: route
    value: api/*
    share_threshold: true
    value_to_metric: true
    descriptors:
      - key: method
        value_to_metric: true
        descriptors:
          - {key: user, rate_limit: {unit: minute, requests_per_unit: 60}}
  - {key: detailed, value: x*, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 60}}
"""


def test_metrics_tell_the_values_that_the_file_wants_told_and_no_others() -> None:
    nested = (("route", "api/v1"), ("method", "GET"), ("user", "jane"))
    assert planned(nested, domain="d", of=TOLD).labels == (("route_api/*.method_GET.user", "enforced"),)
    assert planned((("detailed", "xyz"),), domain="d", of=TOLD).labels == (("detailed_xyz", "enforced"),)
    ((long, _),) = planned((("detailed", "x" * 5000),), domain="d", of=TOLD).labels
    assert len(long) == 128


def test_metadata_are_kept_as_they_are_written() -> None:
    text = "  - {key: a, metadata: {tier: {5: [x, null]}, key: 7}, rate_limit: {unit: day, requests_per_unit: 3}}"
    assert rule_of(text, ("a", "b")).metadata == {"tier": {"5": ["x", None]}, "key": 7}
