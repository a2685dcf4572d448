"""Figures: counted by limit, told with values only where a rule wants that, and never without bound."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ratelimit import metrics as metrics_module
from ratelimit.algorithms import FixedWindow
from ratelimit.matching import Plan, plan
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Descriptor, Request
from ratelimit.rules import DomainRules, Node, Rule
from ratelimit.store import Loss

TELLING = Rule("user", FixedWindow(5, 60_000_000), places=("user",), told=frozenset({0}))
SILENT = Rule("caller", FixedWindow(5, 60_000_000))
RULES = {"d": DomainRules("d", Node(any_value={"user": Node(TELLING), "caller": Node(SILENT)}))}
PASSED = (True, 4, 0, 1)


def planned(*entries: tuple[str, str]) -> Plan:
    return plan(Request("d", tuple(Descriptor((entry,)) for entry in entries)), RULES)


def lines(registry: CollectorRegistry) -> list[str]:
    text = generate_latest(registry).decode()
    return [line for line in text.splitlines() if line.startswith("apibank_ratelimit_decisions_total{")]


def test_only_so_many_values_are_told_and_the_rest_is_counted_under_the_rules_own_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_module, "_MOST_TOLD", 3)
    registry = CollectorRegistry()
    metrics = RateLimitMetrics(registry)
    for _ in range(2):
        for number in range(10):
            metrics.decided(metrics.named(planned(("user", f"u{number}"))), True, [PASSED])
    counts = {line.split('limit="')[1].split('"')[0]: float(line.split()[-1]) for line in lines(registry)}
    assert counts == {"user_u0": 2, "user_u1": 2, "user_u2": 2, "user": 14}


def test_a_rule_that_wants_nothing_told_is_one_line_whoever_asks() -> None:
    registry = CollectorRegistry()
    metrics = RateLimitMetrics(registry)
    for number in range(100):
        one = planned(("caller", f"secret{number}"))
        assert metrics.named(one) is one
        metrics.decided(one, True, [PASSED])
    (line,) = lines(registry)
    assert line == 'apibank_ratelimit_decisions_total{domain="d",limit="caller",outcome="admitted"} 100.0'


def test_however_requests_combine_limits_what_is_kept_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "_MOST_EVENTS", 5)
    registry = CollectorRegistry()
    metrics = RateLimitMetrics(registry)
    for length in range(1, 30):
        metrics.decided(planned(*[("caller", "a")] * length), True, [PASSED] * length)
        assert len(metrics._requests.events) <= 5
    (line,) = lines(registry)
    assert float(line.split()[-1]) == sum(range(1, 30))


def test_names_that_are_used_up_begin_anew_when_rules_are_read_and_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_module, "_MOST_TOLD", 2)
    registry = CollectorRegistry()
    metrics = RateLimitMetrics(registry)

    def count(*names: str) -> list[str]:
        for name in names:
            metrics.decided(metrics.named(planned(("user", name), ("caller", "a"))), True, [PASSED, PASSED])
        return sorted(line.split('limit="')[1].split('"')[0] for line in lines(registry))

    assert count("old0") == ["caller", "user_old0"]
    metrics.loaded(succeeded=True)
    assert count("old1", "old2") == ["caller", "user", "user_old0", "user_old1"]
    metrics.loaded(succeeded=False)
    assert count("old2") == ["caller", "user", "user_old0", "user_old1"]
    metrics.loaded(succeeded=True)
    assert count("new0", "new1", "new2") == ["caller", "user", "user_new0", "user_new1"]
    sums = {line.split('limit="')[1].split('"')[0]: float(line.split()[-1]) for line in lines(registry)}
    assert sums == {"caller": 7, "user": 3, "user_new0": 1, "user_new1": 1}


def test_losses_are_shown_before_there_is_one() -> None:
    registry = CollectorRegistry()
    metrics = RateLimitMetrics(registry)
    metrics.counts_for("marketing")
    for loss in Loss:
        for answer in ("local", "admitted", "unavailable"):
            labels = {"domain": "marketing", "loss": loss.value, "answer": answer}
            assert registry.get_sample_value("apibank_ratelimit_store_losses_total", labels) == 0
