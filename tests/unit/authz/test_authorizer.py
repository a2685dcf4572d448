"""Around the decision: versions of the policy, nonces, keys still to be found, the count and the record."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from prometheus_client import CollectorRegistry

from authz.audit import AuditEvent, Pseudonyms
from authz.authorizer import Authorizer
from authz.decision import Decision, MissingKey, NonceClaim
from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStore, NonceStoreError
from authz.reasons import Reason
from authz.rules import Rules
from tests.unit.authz.world import (
    AGENTS,
    API_KEY,
    KEYS,
    NOW,
    agents_rules,
    facts,
    key_set,
    request,
    rsa_jwk,
    rsa_key,
    rules,
    signed,
    token,
)


class Witness:
    """Keeps events, as long as it has room."""

    def __init__(self, room: int = 1000) -> None:
        self.events: list[AuditEvent] = []
        self.room = room

    def offer(self, event: AuditEvent) -> bool:
        if len(self.events) >= self.room:
            return False
        self.events.append(event)
        return True


class Recorder:
    """Says what it is told about every event, when it is told to."""

    def __init__(self, kept: bool = True) -> None:
        self.events: list[AuditEvent] = []
        self.kept = kept

    def record(self, event: AuditEvent) -> "asyncio.Future[bool]":
        self.events.append(event)
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(self.kept)
        return answer


class BrokenStore:
    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        return [NonceStoreError("down") for _ in claims]


class Finder:
    """Knows where a key is, or does not; counts how often it was asked."""

    def __init__(self, find: Callable[[MissingKey], bool]) -> None:
        self._find = find
        self.asked = 0

    async def find(self, missing: MissingKey) -> bool:
        self.asked += 1
        return self._find(missing)


class World:
    def __init__(self, known: Rules, **options: object) -> None:
        self.registry = CollectorRegistry()
        self.board = FactsBoard(facts())
        self.witness = Witness()
        settings: dict[str, object] = {
            "board": self.board,
            "nonces": MemoryNonceStore(clock=lambda: NOW),
            "audit": self.witness,
            "metrics": AuthzMetrics(self.registry, known.gateway),
            "pseudonyms": Pseudonyms(b"a key of the tests"),
            "clock": lambda: NOW,
            **options,
        }
        self.authorizer = Authorizer(known.gateway, **settings)  # type: ignore[arg-type]
        self.authorizer.install(known)

    def counted(self, **labels: str) -> float:
        return self.registry.get_sample_value("apibank_authz_decisions_total", labels) or 0.0


def reason(decision: Decision) -> Reason | None:
    return None if decision.refusal is None else decision.refusal.reason


async def test_a_decision_is_counted_by_route_outcome_and_reason_and_timed() -> None:
    world = World(rules())
    await world.authorizer.authorize(request(token=token()))
    await world.authorizer.authorize(request())
    await world.authorizer.authorize(request(route="nonsense", path="/api/nonsense"))
    marketing = {"gateway": "marketing"}
    assert world.counted(**marketing, route="content", outcome="allowed", reason="none") == 1
    assert world.counted(**marketing, route="content", outcome="denied", reason="token_missing") == 1
    assert world.counted(**marketing, route="unknown", outcome="denied", reason="route_unknown") == 1
    assert world.registry.get_sample_value("apibank_authz_decision_seconds_count", marketing) == 3


@pytest.mark.requirement("R60", "R79")
async def test_a_signed_request_is_admitted_once() -> None:
    world = World(AGENTS)
    asked = signed()
    assert reason(await world.authorizer.authorize(asked)) is None
    assert reason(await world.authorizer.authorize(asked)) is Reason.SIGNATURE_REPLAYED
    assert reason(await world.authorizer.authorize(signed())) is None


async def test_a_refused_request_cannot_be_replayed_when_it_would_be_admitted() -> None:
    known = agents_rules(tiers=["free"])
    world = World(known)
    asked = signed(policy=known.version)
    assert reason(await world.authorizer.authorize(asked)) is Reason.TIER_NOT_ADMITTED
    world.authorizer.install(AGENTS)
    asked.policy = AGENTS.version
    assert reason(await world.authorizer.authorize(asked)) is Reason.SIGNATURE_REPLAYED


@pytest.mark.parametrize("store", [BrokenStore()])
async def test_without_its_nonce_store_a_gateway_admits_no_signature(store: NonceStore) -> None:
    world = World(AGENTS, nonces=store)
    assert reason(await world.authorizer.authorize(signed())) is Reason.NONCE_STORE_UNAVAILABLE


async def test_a_few_versions_of_the_policy_are_decided_by_and_no_others() -> None:
    versions = [rules(description=f"version {number}") for number in range(4)]
    world = World(versions[0], kept_versions=3)
    for known in versions[1:]:
        world.authorizer.install(known)
    assert world.authorizer.versions == tuple(known.version for known in versions[1:])
    outcomes = [reason(await world.authorizer.authorize(request(token=token(), rules=each))) for each in versions]
    assert outcomes == [Reason.POLICY_UNKNOWN, None, None, None]


async def test_neither_the_current_version_nor_the_candidate_makes_room_for_others() -> None:
    current, candidate = rules(), rules(description="candidate")
    world = World(current, kept_versions=3)
    for number in range(5):
        world.authorizer.install(rules(description=f"tried {number}"), candidate=True)
    world.authorizer.install(candidate, candidate=True)
    assert {current.version, candidate.version} <= set(world.authorizer.versions)
    assert len(world.authorizer.versions) == 3
    for number in range(5):
        world.authorizer.install(rules(description=f"live {number}"))
    assert candidate.version in world.authorizer.versions
    assert current.version not in world.authorizer.versions


async def test_a_version_that_comes_back_is_the_newest_again_and_keeps_its_memory() -> None:
    first, second = rules(), rules(description="second")
    world = World(first, kept_versions=2)
    text = token()
    known = await world.authorizer.authorize(request(token=text))
    world.authorizer.install(second)
    world.authorizer.install(rules())
    assert world.authorizer.versions == (second.version, first.version)
    assert (await world.authorizer.authorize(request(token=text))).principal is known.principal


async def test_a_version_that_hardly_anybody_asks_by_any_more_remembers_no_tokens() -> None:
    versions = [rules(description=f"version {number}") for number in range(3)]
    world = World(versions[0])
    for number, known in enumerate(versions):
        world.authorizer.install(known)
        assert reason(await world.authorizer.authorize(request(token=token(), rules=known))) is None
        # That of the version before stays while Envoys are on their way to the new one.
        assert [len(one.verified) for one in versions[: number + 1]] == [0, 1, 1][-number - 1 :]
    assert reason(await world.authorizer.authorize(request(token=token(), rules=versions[0]))) is None


def test_another_gateways_rules_are_not_installed() -> None:
    with pytest.raises(ValueError, match="agents"):
        World(rules()).authorizer.install(AGENTS)


async def test_a_check_for_another_gateway_is_refused() -> None:
    world = World(rules())
    assert reason(await world.authorizer.authorize(signed())) is Reason.GATEWAY_UNKNOWN


async def test_before_any_policy_is_installed_everything_is_refused() -> None:
    world = World(rules())
    empty = Authorizer(
        "marketing",
        board=world.board,
        nonces=BrokenStore(),
        audit=world.witness,
        metrics=AuthzMetrics(CollectorRegistry(), "marketing"),
    )
    assert reason(await empty.authorize(request(token=token()))) is Reason.POLICY_UNKNOWN


async def test_a_token_of_a_new_key_passes_once_the_key_is_found() -> None:
    world = World(rules())

    def publish(missing: MissingKey) -> bool:
        assert missing == MissingKey(KEYS["customer"], "new")
        world.board.put_key_set(KEYS["customer"], key_set(rsa_jwk(rsa_key("new"), "new")))
        return True

    finder = Finder(publish)
    world.authorizer = World(rules(), board=world.board, key_finder=finder).authorizer
    text = token(rsa_key("new"), {"kid": "new"})
    assert reason(await world.authorizer.authorize(request(token=text))) is None
    assert reason(await world.authorizer.authorize(request(token=text))) is None
    assert finder.asked == 1


async def test_a_token_of_a_key_that_nobody_has_is_refused() -> None:
    finder = Finder(lambda _: False)
    world = World(rules(), key_finder=finder)
    text = token(header={"kid": "new"})
    assert reason(await world.authorizer.authorize(request(token=text))) is Reason.TOKEN_INVALID
    assert finder.asked == 1


@pytest.mark.requirement("R20")
async def test_every_decision_is_one_event_that_names_no_person_and_no_secret() -> None:
    world = World(rules())
    text = token(sub="jane.doe@example.com", tenant_id="acme")
    headers = {"x-request-id": "r-1", "user-agent": f"curl {API_KEY}"}
    await world.authorizer.authorize(request(token=text, headers=headers))
    await world.authorizer.authorize(request(token=text, headers=headers, path=f"/api/marketing/content/{API_KEY}"))
    allowed, denied = world.witness.events
    assert (allowed.outcome, allowed.reason, allowed.status, allowed.route) == ("allowed", "", 200, "content")
    assert (allowed.tenant, allowed.role, allowed.tier, allowed.address) == (
        "acme",
        "customer",
        "business",
        "192.0.2.7",
    )
    assert (allowed.request_id, allowed.policy, allowed.at) == ("r-1", rules().version, NOW)
    assert (denied.outcome, denied.reason, denied.status) == ("denied", "credentials_in_url", 400)
    for event in world.witness.events:
        for secret in ("jane", API_KEY, text, "email"):
            assert secret not in repr(event)


@pytest.mark.requirement("R20", "R36")
@pytest.mark.parametrize(
    ("recorder", "wanted"),
    [(Recorder(kept=True), None), (Recorder(kept=False), Reason.AUDIT_UNAVAILABLE), (None, Reason.AUDIT_UNAVAILABLE)],
    ids=["kept", "not kept", "nowhere to keep it"],
)
async def test_what_must_be_recorded_and_is_not_is_refused(recorder: Recorder | None, wanted: Reason | None) -> None:
    known = rules(audit="required")
    world = World(known, recorder=recorder)
    assert reason(await world.authorizer.authorize(request(token=token(), rules=known))) is wanted
    # The stream tells what was answered in the end.
    assert [event.reason for event in world.witness.events] == [wanted or ""]


async def test_a_refusal_stays_what_it_is_where_it_cannot_be_recorded() -> None:
    recorder = Recorder(kept=False)
    known = rules(audit="required")
    world = World(known, recorder=recorder)
    assert reason(await world.authorizer.authorize(request(rules=known))) is Reason.TOKEN_MISSING
    assert [event.reason for event in recorder.events] == ["token_missing"]


async def test_without_room_in_the_stream_requests_are_answered_and_the_loss_is_counted() -> None:
    world = World(rules(), audit=Witness(room=0))
    assert reason(await world.authorizer.authorize(request(token=token()))) is None
    assert world.registry.get_sample_value("apibank_authz_audit_dropped_total", {"gateway": "marketing"}) == 1


async def test_a_route_can_ask_for_a_record_that_its_gateway_does_not_and_the_other_way_round() -> None:
    for gateway, route, wanted in (("logged", "required", 1), ("required", "logged", 0)):
        recorder = Recorder()
        routes = {"docs": {"path": "/docs", "access": "public", "audit": route, "upstream": "service"}}
        known = rules(audit=gateway, routes=routes)
        world = World(known, recorder=recorder)
        await world.authorizer.authorize(request("docs", "/docs", rules=known))
        assert len(recorder.events) == wanted


async def test_what_no_route_or_policy_is_known_for_is_recorded_as_the_gateway_says() -> None:
    for gateway, wanted in (("logged", 0), ("required", 2)):
        recorder = Recorder()
        world = World(rules(audit=gateway), recorder=recorder)
        await world.authorizer.authorize(request(policy="unknown"))
        world.authorizer.failed(request())
        assert len(recorder.events) == wanted
        assert len(world.witness.events) == 2
