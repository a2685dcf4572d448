"""Plans remembered by the bytes of the request: never longer than the rules, never without bound."""

from prometheus_client import CollectorRegistry

from protos import rls_pb2 as pb
from ratelimit.algorithms import FixedWindow
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.plan_cache import PlanCache
from ratelimit.rules import DomainRules, Node, Rule


def limiter() -> RateLimiter:
    made = RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry()))
    made.install(rules(1))
    return made


def rules(amount: int) -> DomainRules:
    return DomainRules("d", Node(any_value={"k": Node(Rule("r", FixedWindow(amount, 1_000_000)))}))


def request(value: str) -> bytes:
    entry = pb.RateLimitDescriptor.Entry(key="k", value=value)
    return pb.RateLimitRequest(domain="d", descriptors=[pb.RateLimitDescriptor(entries=[entry])]).SerializeToString()


def held(cache: PlanCache) -> int:
    return len(cache._young) + len(cache._old)


def test_the_same_request_has_the_same_plan_and_another_caller_shares_its_form() -> None:
    cache = PlanCache(limiter())
    plan, writer = cache.find(request("a"))
    assert cache.find(request("a")) == (plan, writer)
    other, same_writer = cache.find(request("b"))
    assert other.charges[0].key != plan.charges[0].key
    assert same_writer is writer


def test_changed_rules_are_seen_by_the_next_request() -> None:
    changing = limiter()
    cache = PlanCache(changing)
    assert cache.find(request("a"))[0].limited[0].amount == 1
    changing.install(rules(2))
    assert cache.find(request("a"))[0].limited[0].amount == 2
    changing.install_all({})
    assert cache.find(request("a"))[0].limited == ()


def test_it_holds_at_most_twice_its_size_and_keeps_what_is_used() -> None:
    cache = PlanCache(limiter(), size=10)
    kept = cache.find(request("kept"))
    for index in range(1000):
        cache.find(request(str(index)))
        if index % 5 == 0:
            assert cache.find(request("kept")) is kept
        assert held(cache) <= 20


def test_a_long_request_is_planned_and_not_remembered() -> None:
    cache = PlanCache(limiter())
    assert cache.find(request("x" * 2000))[0].limited[0].name == "r"
    assert held(cache) == 0
