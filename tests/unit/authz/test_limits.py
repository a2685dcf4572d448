"""Limits that a Check answers for: asked last, of what has passed, once for many, and undone where it was in vain."""

import asyncio
from collections.abc import Sequence

import pytest

from authz.audit import AuditEvent
from authz.decision import Decision, Refusal
from authz.limits import Counted, Counting
from authz.reasons import Reason
from authz.request import Request
from authz.rules import Rules
from authz.service import CheckService
from authz.unsettled import Awaited, Unsettled
from protos import ext_authz_pb2 as pb
from tests.contract.test_authz_server import check
from tests.unit.authz.test_authorizer import Recorder, World
from tests.unit.authz.world import AGENTS, CONTENT, agents_rules, request, rules, signed, token

SERVICES = {"authz": {"endpoint": "unix:/a"}, "ratelimit": {"endpoint": "unix:/b", "answered_by": "authz"}}
LIMITED = {
    "services": SERVICES,
    "limits": {
        "requests": {"tiers": {"free": 10, "business": 10, "internal": 10}},
        "addresses": {"per": "address", "requests": 5},
    },
    "defaults": {
        "methods": {"GET": "read", "POST": "write"},
        "scopes": "marketing",
        "limits": ["requests", "addresses"],
    },
}
FULL = Counted(
    Refusal(Reason.RATE_LIMITED, "limit day", "Daily limit reached", named="daily_limit_reached"),
    (("ratelimit", '"day";r=0;t=60'), ("retry-after", "60")),
)
PASSED = Counted(
    None, (("ratelimit", '"requests";r=9;t=6'), ("ratelimit-policy", '"requests";q=10;w=60')), charged=True
)


class Counter:
    """Says what it is told to; `near`: at once."""

    def __init__(self, answer: Counted = PASSED, *, near: bool = False, error: Exception | None = None) -> None:
        self.answer, self.near, self.error = answer, near, error
        self.trips: list[list[Counting]] = []
        self.given_back: list[Counting] = []

    def count_now(self, asked: Counting) -> Counted | None:
        if not self.near:
            return None
        self.trips.append([asked])
        return self.answer

    async def count(self, asked: Sequence[Counting]) -> Sequence[Counted]:
        self.trips.append(list(asked))
        if self.error is not None:
            raise self.error
        return [self.answer] * len(asked)

    async def give_back(self, asked: Sequence[Counting]) -> None:
        self.given_back += asked


def known(**changes: object) -> Rules:
    return rules(**{**LIMITED, **changes})


def asked(rules: Rules, *arguments: str, **options: object) -> Request:
    return request(*arguments, rules=rules, token=token(), **options)  # type: ignore[arg-type]


async def ended(rules: Rules, counter: Counter | None, request: Request, **options: object) -> tuple[Decision, World]:
    world = World(rules, limits=counter, **options)
    return await world.authorizer.authorize(request), world


@pytest.mark.parametrize("near", [True, False], ids=["at once", "after a while"])
async def test_what_passes_is_counted_with_what_envoy_would_have_known_of_it(near: bool) -> None:
    policy, counter = known(), Counter(near=near)
    decision, world = await ended(policy, counter, asked(policy))
    (((limits, tier, caller, address),),) = counter.trips
    assert ([limit.name for limit in limits], tier, caller, address) == (
        ["requests", "addresses"],
        "business",
        "sub:user_1",
        "192.0.2.7",
    )
    assert decision.allowed
    assert decision.told == PASSED.headers
    assert world.counted(gateway="marketing", route="content", outcome="allowed", reason="none") == 1
    assert counter.given_back == []


@pytest.mark.parametrize("near", [True, False], ids=["at once", "after a while"])
async def test_a_limit_s_refusal_has_the_limit_s_code_wherever_it_is_told(near: bool) -> None:
    policy = known()
    decision, world = await ended(policy, Counter(FULL, near=near), asked(policy))
    assert decision.refusal == FULL.refusal
    (event,) = world.witness.events
    assert (event.outcome, event.reason, event.status, event.cause) == (
        "denied",
        "daily_limit_reached",
        429,
        "limit day",
    )
    assert world.counted(gateway="marketing", route="content", outcome="denied", reason="daily_limit_reached") == 1


@pytest.mark.requirement("R42")
@pytest.mark.parametrize(
    "refused",
    [
        request(rules=known()),
        request("content", method="POST", token=token(), json_body={"topic": 1}, rules=known()),
        request(token=token(scopes=[]), rules=known()),
        request(token=token(tier="golden"), rules=known()),
        request("nobody", token=token(), rules=known()),
        request(method="DELETE", token=token(), rules=known()),
        request(route="nonsense", token=token(), rules=known()),
    ],
    ids=["nobody", "body", "scope", "tier", "network", "method", "route"],
)
async def test_what_another_check_refuses_is_not_counted(refused: Request) -> None:
    counter = Counter(near=True)
    decision, _ = await ended(known(), counter, refused)
    assert not decision.allowed
    assert counter.trips == []


async def test_where_envoy_asks_the_rate_limit_service_a_check_counts_nothing() -> None:
    policy, counter = (
        rules(**{**LIMITED, "services": {**SERVICES, "ratelimit": {"endpoint": "unix:/b"}}}),
        Counter(near=True),
    )
    decision, _ = await ended(policy, counter, asked(policy))
    assert decision.allowed
    assert counter.trips == []


async def test_where_nobody_counts_what_must_be_counted_is_refused() -> None:
    policy = known()
    decision, _ = await ended(policy, None, asked(policy))
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.LIMITS_UNAVAILABLE


@pytest.mark.parametrize("mode", ["off", "shadow", "optional"])
async def test_limits_hold_in_every_mode(mode: str) -> None:
    policy, counter = known(mode=mode), Counter(FULL, near=True)
    decision, _ = await ended(policy, counter, request(rules=policy))
    assert decision.refusal == FULL.refusal
    assert (decision.waived is not None) == (mode == "shadow")
    (((_, tier, caller, _),),) = counter.trips
    assert (tier, caller) == ("free", "address:192.0.2.7")


async def test_whose_signature_was_used_before_is_not_counted() -> None:
    policy = agents_rules(**{**LIMITED, "defaults": {"methods": {"POST": "write"}, "limits": ["requests"]}})
    counter, once = Counter(), replaced(signed(), policy)
    world = World(policy, limits=counter)
    decisions = [await world.authorizer.authorize(once) for _ in range(2)]
    assert [decision.allowed for decision in decisions] == [True, False]
    assert [len(trip) for trip in counter.trips] == [1]


def replaced(asked: Request, policy: Rules) -> Request:
    asked.policy = policy.version
    return asked


async def test_the_checks_of_a_batch_are_counted_in_one_round_trip_when_their_nonces_are_spent() -> None:
    policy = agents_rules(**{**LIMITED, "defaults": {"methods": {"POST": "write"}, "limits": ["requests"]}})
    counter = Counter()
    world = World(policy, limits=counter)
    waiting = [world.authorizer.begin(replaced(signed(), policy), 0.0) for _ in range(5)]
    unsettled = [one for one in waiting if isinstance(one, Unsettled)]
    assert {one.awaited for one in unsettled} == {Awaited.NONCE}
    decisions = await world.authorizer.settle(unsettled)
    assert all(isinstance(one, Decision) and one.allowed for one in decisions)
    assert [len(trip) for trip in counter.trips] == [5]


async def test_a_count_that_fails_refuses_and_gives_nothing_back_that_may_not_have_been_charged() -> None:
    policy, counter = known(), Counter(error=RuntimeError("nobody has foreseen this"))
    world = World(policy, limits=counter)
    service = CheckService(world.authorizer)
    begun = service.begin(check(asked(policy)).SerializeToString(), 0.0)
    assert isinstance(begun, Unsettled)
    (raw,) = await service.settle([begun])
    assert pb.CheckResponse.FromString(raw).denied_response.status.code == 503
    assert counter.given_back == []
    assert [event.outcome for event in world.witness.events] == ["denied"]


@pytest.mark.parametrize("near", [True, False], ids=["at once", "after a while"])
async def test_what_was_charged_and_could_not_be_recorded_is_given_back(near: bool) -> None:
    policy, counter = known(audit="required"), Counter(near=near)
    decision, _ = await ended(policy, counter, asked(policy), recorder=Recorder(kept=False))
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.AUDIT_UNAVAILABLE
    assert counter.given_back == counter.trips[0]


async def test_what_was_charged_and_recorded_is_not_given_back() -> None:
    policy, counter = known(audit="required"), Counter(near=True)
    decision, _ = await ended(policy, counter, asked(policy), recorder=Recorder())
    assert decision.allowed
    assert counter.given_back == []


async def test_what_cannot_be_recorded_at_all_is_not_charged() -> None:
    policy, counter = known(audit="required"), Counter(near=True)
    decision, _ = await ended(policy, counter, asked(policy))
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.AUDIT_UNAVAILABLE
    assert counter.trips == []


async def test_what_a_limit_refused_or_nobody_counted_is_not_given_back() -> None:
    policy = known(audit="required")
    for answer in (FULL, Counted(None)):
        counter = Counter(answer)
        await ended(policy, counter, asked(policy), recorder=Recorder(kept=False))
        assert counter.given_back == []


class Slow(Counter):
    """Counts when it is told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def count(self, asked: Sequence[Counting]) -> Sequence[Counted]:
        await self.go_on.wait()
        return await super().count(asked)


async def test_a_check_that_is_given_up_while_it_is_counted_is_refused_and_given_back() -> None:
    policy, counter = known(), Slow()
    world = World(policy, limits=counter)
    waiting = [world.authorizer.begin(asked(policy), 0.0) for _ in range(2)]
    unsettled = [one for one in waiting if isinstance(one, Unsettled)]
    settling = asyncio.create_task(world.authorizer.settle(unsettled))
    await asyncio.sleep(0)
    unsettled[0].given_up = True
    counter.go_on.set()
    first, second = await settling
    assert isinstance(first, Decision)
    assert not first.allowed
    assert isinstance(second, Decision)
    assert second.allowed
    assert len(counter.given_back) == 1


async def test_a_check_that_was_given_up_before_is_not_counted() -> None:
    policy, counter = known(), Counter()
    world = World(policy, limits=counter)
    waiting = world.authorizer.begin(asked(policy), 0.0)
    assert isinstance(waiting, Unsettled)
    waiting.given_up = True
    (decision,) = await world.authorizer.settle([waiting])
    assert isinstance(decision, Decision)
    assert not decision.allowed
    assert counter.trips == []
    assert counter.given_back == []


class Held:
    """A recorder whose disk is slow."""

    def __init__(self) -> None:
        self.written = asyncio.get_running_loop().create_future()

    def record(self, event: AuditEvent) -> "asyncio.Future[bool]":
        return self.written


async def test_a_check_that_is_given_up_while_its_record_is_written_is_refused_and_given_back() -> None:
    policy, counter, recorder = known(audit="required"), Counter(), Held()
    world = World(policy, limits=counter, recorder=recorder)
    waiting = world.authorizer.begin(asked(policy), 0.0)
    assert isinstance(waiting, Unsettled)
    settling = asyncio.create_task(world.authorizer.settle([waiting]))
    while waiting.awaited is not Awaited.RECORD:
        await asyncio.sleep(0)
    waiting.given_up = True
    recorder.written.set_result(True)
    (decision,) = await settling
    assert isinstance(decision, Decision)
    assert not decision.allowed
    assert len(counter.given_back) == 1


class Samples:
    """Keeps what it is shown."""

    def __init__(self) -> None:
        self.taken: list[Decision] = []

    def take(self, request: Request, decision: Decision, rules: Rules, now: float) -> None:
        self.taken.append(decision)


async def test_a_sample_is_of_what_the_policy_decides_and_not_of_what_was_left_at_the_moment() -> None:
    policy, samples = known(replay={"sample": 1.0}), Samples()
    decision, _ = await ended(policy, Counter(FULL, near=True), asked(policy), sampler=samples)
    assert not decision.allowed
    assert [taken.allowed for taken in samples.taken] == [True]


@pytest.mark.parametrize("forged", [{}, {"x-waooaw-tier": "enterprise", "ratelimit": "99"}], ids=["honest", "forged"])
async def test_headers_for_the_client_stand_beside_all_else_that_is_answered(forged: dict[str, str]) -> None:
    policy = known()
    message = check(asked(policy, headers=forged)).SerializeToString()

    def answer(counter: Counter) -> pb.CheckResponse:
        raw = CheckService(World(policy, limits=counter).authorizer).begin(message, 0.0)
        assert isinstance(raw, bytes)
        return pb.CheckResponse.FromString(raw)

    plain, told = answer(Counter(Counted(None), near=True)), answer(Counter(near=True))
    added = [(one.header.key, one.header.value) for one in told.ok_response.response_headers_to_add]
    assert tuple(added) == PASSED.headers
    del told.ok_response.response_headers_to_add[:]
    assert told == plain


async def test_the_answer_to_what_a_limit_refuses_says_what_the_limit_says() -> None:
    policy = known()
    message = check(asked(policy, method="POST", json_body=CONTENT, headers={"x-request-id": "r-1"}))
    raw = CheckService(World(policy, limits=Counter(FULL, near=True)).authorizer).begin(
        message.SerializeToString(), 0.0
    )
    assert isinstance(raw, bytes)
    denied = pb.CheckResponse.FromString(raw).denied_response
    headers = {one.header.key: one.header.value for one in denied.headers}
    assert denied.status.code == 429
    assert '"code":"daily_limit_reached"' in denied.body
    assert '"type":"https://waooaw.ai/problems/daily_limit_reached"' in denied.body
    assert '"detail":"Daily limit reached"' in denied.body
    assert '"request_id":"r-1"' in denied.body
    assert headers == {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        "ratelimit": '"day";r=0;t=60',
        "retry-after": "60",
    }


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("application/grpc-web+proto", False),
        ("application/json", False),
        ("", False),
    ],
)
async def test_clients_of_grpc_are_told_that_something_is_used_up(kind: str, told: bool) -> None:
    policy = known()
    decision, _ = await ended(policy, Counter(FULL, near=True), asked(policy, headers={"content-type": kind}))
    assert not decision.allowed
    assert (("grpc-status", "8") in decision.told) == told


def test_agents_of_the_tests_have_no_limits() -> None:
    assert all(route.limits == () for route in AGENTS.routes.values())
