"""Guessing is slow, and nobody but who guesses notices (attack A59)."""

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from authz.decision import Decision, Refusal
from authz.failures import GUESSES, TOLD_AT_ONCE, WINDOW_SECONDS, Failures, FailureStoreError, exchange
from authz.pipeline import decide
from authz.principal import NOBODY
from authz.problem import problem_headers
from authz.reasons import Reason
from authz.rules import FailureRules
from tests.unit.authz.world import API_KEY, NOW, facts, policy, request, rules, token

ADDRESS = "192.0.2.7"
FOUR = FailureRules(4, rules().failures.exempt)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def judged(failures: Failures, reason: Reason = Reason.KEY_INVALID, address: str | None = ADDRESS) -> Reason:
    decision = failures.judge(request(address=address), Decision(Refusal(reason), NOBODY), FOUR)
    assert decision.refusal is not None
    return decision.refusal.reason


def test_so_many_failures_a_minute_are_answered_and_further_ones_are_told_to_wait() -> None:
    clock = Clock()
    failures = Failures(clock)
    assert [judged(failures) for _ in range(5)] == [Reason.KEY_INVALID] * 4 + [Reason.TOO_MANY_FAILURES]
    clock.now += WINDOW_SECONDS - 0.001
    assert judged(failures) is Reason.TOO_MANY_FAILURES
    clock.now += 0.001
    assert judged(failures) is Reason.KEY_INVALID
    assert judged(failures, address="192.0.2.8") is Reason.KEY_INVALID


def test_the_answer_says_how_long_to_wait_and_the_record_what_failed() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(4):
        judged(failures)
    clock.now += 17.5
    decision = failures.judge(request(), Decision(Refusal(Reason.TOKEN_INVALID, "signature"), NOBODY), FOUR)
    assert decision.refusal == Refusal(Reason.TOO_MANY_FAILURES, cause="token_invalid", retry_after=43)
    assert decision.refusal.status == 429
    assert ("retry-after", "43") in problem_headers(decision, decision.refusal)


@pytest.mark.attack("A59")
def test_a_good_credential_passes_from_an_address_that_has_failed_too_often() -> None:
    failures = Failures(Clock())
    known = rules()
    for _ in range(30):
        bad = request("plain", key="waw_live_sk_" + "0" * 20)
        last = failures.judge(bad, decide(bad, known, facts(), NOW), known.failures)
    assert last.refusal is not None
    assert last.refusal.reason is Reason.TOO_MANY_FAILURES
    for good in (request("plain", key=API_KEY), request("plain", token=token())):
        assert failures.judge(good, decide(good, known, facts(), NOW), known.failures).allowed


def test_only_what_could_be_a_guess_counts() -> None:
    failures = Failures(Clock())
    for reason in set(Reason) - GUESSES:
        for _ in range(5):
            assert judged(failures, reason) is reason
    assert len(failures) == 0
    assert not {Reason.TOKEN_EXPIRED, Reason.TOKEN_MISSING, Reason.SIGNATURE_REPLAYED} & GUESSES


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("2001:db8::1", "2001:db8::ffff:ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.7", "::ffff:192.0.2.7", True),
        (None, "not an address", True),
        (None, "192.0.2.7", False),
    ],
)
def test_an_address_counts_with_those_that_the_same_host_can_take(one: str, other: str, together: bool) -> None:
    failures = Failures(Clock())
    for _ in range(4):
        judged(failures, address=one)
    assert (judged(failures, address=other) is Reason.TOO_MANY_FAILURES) is together


def test_exempt_networks_are_not_counted() -> None:
    exempt = {"authz": {"endpoint": "unix:/a", "failed_credentials": {"per_minute": 1, "exempt": ["192.0.2.0/24"]}}}
    known = rules(services={**policy().model_dump(mode="json")["services"], **exempt}).failures
    failures = Failures(Clock())
    refused = Decision(Refusal(Reason.KEY_INVALID), NOBODY)
    for _ in range(3):
        assert failures.judge(request(), refused, known) is refused
    elsewhere = [failures.judge(request(address="198.51.100.1"), refused, known).refusal for _ in range(2)]
    assert [each.reason for each in elsewhere if each is not None] == [Reason.KEY_INVALID, Reason.TOO_MANY_FAILURES]


def told(failures: Failures) -> dict[str, int]:
    """Everything that there is to be told, in as many steps as it takes."""
    found: dict[str, int] = {}
    while some := failures.take_untold():
        assert len(some) <= TOLD_AT_ONCE
        assert found.keys().isdisjoint(some)
        found |= some
    return found


@pytest.mark.attack("A59")
def test_the_memory_is_bounded_and_the_oldest_goes_first() -> None:
    clock = Clock()
    failures = Failures(clock, capacity=1000)
    for number in range(5000):
        failures.count(f"a{number}", 4)
    assert len(failures) == 1000
    assert set(told(failures)) == {f"a{number}" for number in range(4000, 5000)}
    clock.now += WINDOW_SECONDS
    for number in range(100):
        failures.count(f"b{number}", 4)
    assert len(failures) == 100


def test_what_ends_at_once_is_forgotten_in_steps_and_counts_for_nothing_meanwhile() -> None:
    clock = Clock()
    failures = Failures(clock)
    for number in range(5000):
        for _ in range(4):
            assert failures.count(f"a{number}", 4) == 0.0
    clock.now += WINDOW_SECONDS
    assert failures.count("a4999", 4) == 0.0
    # Checks have their turn in between.
    assert len(failures) > 4000
    assert [failures.count("a4999", 4) for _ in range(4)] == [0.0, 0.0, 0.0, WINDOW_SECONDS]


def test_the_others_hear_first_of_those_that_go_on() -> None:
    failures = Failures(Clock())
    for number in range(1000):
        failures.count(f"a{number}", 4)
    for _ in range(2):
        failures.count("a999", 4)
    first = failures.take_untold()
    assert first["a999"] == 3
    assert len(first) == TOLD_AT_ONCE
    assert sum(told(failures).values()) + sum(first.values()) == 1002


class Store:
    """What two replicas have in common."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.away = False
        self.asked = asyncio.Event()

    async def add(self, failures: Mapping[str, int]) -> Mapping[str, int]:
        self.asked.set()
        if self.away:
            raise FailureStoreError("ConnectionError")
        for address, count in failures.items():
            self.totals[address] = self.totals.get(address, 0) + count
        return {address: self.totals[address] for address in failures}


async def exchanged(store: Store, *replicas: Failures) -> None:
    """Let each replica exchange once."""
    for failures in replicas:
        store.asked.clear()
        stop = asyncio.Event()
        running = asyncio.create_task(exchange(failures, store, stop))
        async with asyncio.timeout(5):
            await store.asked.wait()
        stop.set()
        await running


async def test_replicas_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authz.failures.EXCHANGE_SECONDS", 0.001)
    store = Store()
    one, other = Failures(Clock()), Failures(Clock())
    for _ in range(3):
        judged(one)
    judged(other)
    await exchanged(store, one, other)
    # Four have failed: three here, one there.
    assert judged(other) is Reason.TOO_MANY_FAILURES
    assert judged(one) is Reason.KEY_INVALID
    await exchanged(store, one)
    assert judged(one) is Reason.TOO_MANY_FAILURES


async def test_while_the_store_is_away_each_goes_by_its_own_count_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("authz.failures.EXCHANGE_SECONDS", 0.001)
    store = Store()
    store.away = True
    failures = Failures(Clock())
    with capture_logs() as logs:
        for _ in range(4):
            assert judged(failures) is Reason.KEY_INVALID
        await exchanged(store, failures)
    assert [one["event"] for one in logs] == ["failures_not_shared"]
    assert judged(failures) is Reason.TOO_MANY_FAILURES


async def test_what_nobody_has_foreseen_of_the_store_does_not_end_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("authz.failures.EXCHANGE_SECONDS", 0.001)

    class Odd(Store):
        async def add(self, failures: Mapping[str, int]) -> Mapping[str, int]:
            await super().add(failures)
            raise ValueError("an answer that is no number")

    failures, stop, store = Failures(Clock()), asyncio.Event(), Odd()
    running = asyncio.create_task(exchange(failures, store, stop))
    with capture_logs() as logs:
        for _ in range(2):
            judged(failures)
            store.asked.clear()
            async with asyncio.timeout(5):
                await store.asked.wait()
    stop.set()
    await running
    assert [one["error"] for one in logs] == ["ValueError"]
