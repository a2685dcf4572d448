"""Many checks at once: each gets its own answer, one's failure is no other's, and both servers say the same."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from authz.audit import audit_event
from authz.authorizer import Authorizer
from authz.decision import Decision, MissingKey, NonceClaim
from authz.facts import Facts, FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStoreError
from authz.pipeline import decide
from authz.request import Request
from authz.rules import Rules
from authz.server import SERVICE, serve
from authz.service import CheckService
from authz.unsettled import Unsettled
from protos import ext_authz_pb2 as pb
from rpc.server import ServerKind
from rpc.service import Failure
from tests.contract.test_authz_server import KINDS, authorizer, check, code
from tests.unit.authz.test_authorizer import Witness
from tests.unit.authz.world import (
    AGENTS,
    API_KEY,
    CONTENT,
    NOW,
    facts,
    key_set,
    request,
    rsa_jwk,
    rsa_key,
    rules,
    signed,
    token,
)

RULES = rules()
TOKEN = token()
Answered = bytes | Failure


class CountingStore(MemoryNonceStore):
    """Counts its round trips."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[int] = []

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        self.trips.append(len(claims))
        return await super().spend_many(claims)


class BrokenStore(MemoryNonceStore):
    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        raise RuntimeError("nobody has foreseen this")


async def answered(service: CheckService, asked: Sequence[Request]) -> list[pb.CheckResponse]:
    """What each of a batch's checks is answered, as a server with batches goes about it."""
    begun = [service.begin(check(each).SerializeToString(), 0.0) for each in asked]
    waiting = [each for each in begun if isinstance(each, Unsettled)]
    settled = iter(await service.settle(waiting))
    answers = [next(settled) if isinstance(each, Unsettled) else each for each in begun]
    assert all(isinstance(each, bytes) for each in answers)
    return [pb.CheckResponse.FromString(each) for each in answers if isinstance(each, bytes)]


def outcome(response: pb.CheckResponse) -> str:
    return "allowed" if response.status.code == 0 else code(response)


async def test_what_needs_no_waiting_does_not_wait() -> None:
    service = CheckService(authorizer())
    for asked in (request(token=TOKEN), request(), request(key=API_KEY), request("docs"), request(route="nonsense")):
        assert isinstance(service.begin(check(asked).SerializeToString(), 0.0), bytes)


async def test_octets_that_are_no_check_are_a_failure_of_one_call() -> None:
    service = CheckService(authorizer())
    assert isinstance(service.begin(b"\xff\xff\xff", 0.0), Failure)
    assert isinstance(service.begin(check(request(token=TOKEN)).SerializeToString(), 0.0), bytes)


@pytest.mark.requirement("R60")
async def test_the_nonces_of_a_batch_are_spent_in_one_round_trip_and_each_once() -> None:
    store = CountingStore()
    service = CheckService(authorizer(rules=AGENTS, nonces=store))
    once, other, unsigned = signed(), signed(), replace(signed(), headers={})
    responses = await answered(service, [once, unsigned, once, other])
    assert [outcome(each) for each in responses] == ["allowed", "signature_missing", "signature_replayed", "allowed"]
    assert store.trips == [3]


async def test_a_nonce_store_that_fails_in_a_way_of_its_own_admits_none_of_a_batch() -> None:
    witness = Witness()
    service = CheckService(authorizer(witness=witness, rules=AGENTS, nonces=BrokenStore()))
    responses = await answered(service, [signed(), signed()])
    assert [outcome(each) for each in responses] == ["internal_error"] * 2
    assert [event.outcome for event in witness.events] == ["denied"] * 2


@pytest.mark.parametrize("step", ["authz.authorizer.decide", "authz.authorizer.audit_event"])
async def test_an_exception_in_one_check_refuses_that_one_alone(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decide_unless_odd(asked: Request, known: Rules, held: Facts, now: float) -> Decision:
        if asked.method == "POST":
            raise RuntimeError("odd")
        return decide(asked, known, held, now)

    def record_unless_odd(asked: Request, *rest: object) -> object:
        if asked.method == "POST":
            raise RuntimeError("odd")
        return audit_event(asked, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(step, decide_unless_odd if step.endswith("decide") else record_unless_odd)
    service = CheckService(authorizer())
    good, odd = request(token=TOKEN), request(method="POST", token=TOKEN, json_body=CONTENT)
    responses = await answered(service, [good, odd, good])
    assert [outcome(each) for each in responses] == ["allowed", "internal_error", "allowed"]


async def test_an_exception_while_one_is_settled_refuses_that_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def record(asked: Request, *rest: object) -> object:
        if "x-odd" in asked.headers:
            raise RuntimeError("odd")
        return audit_event(asked, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("authz.authorizer.audit_event", record)
    service = CheckService(authorizer(rules=AGENTS))
    responses = await answered(service, [signed(), signed(headers={"x-odd": "1"}), signed()])
    assert [outcome(each) for each in responses] == ["allowed", "internal_error", "allowed"]


class Publisher:
    """Finds the keys that are to be had, and fails over one."""

    def __init__(self, board: FactsBoard) -> None:
        self._board = board
        self.asked: list[str] = []

    async def find(self, missing: MissingKey) -> bool:
        self.asked.append(missing.kid)
        if missing.kid == "cursed":
            raise RuntimeError("cursed")
        if missing.kid == "new":
            self._board.put_key_set(missing.issuer, key_set(rsa_jwk(rsa_key("new"), "new")))
        return missing.kid == "new"


async def test_each_unknown_key_of_a_batch_is_looked_for_once_and_by_itself() -> None:
    board, witness = FactsBoard(facts()), Witness()
    finder = Publisher(board)
    made = Authorizer(
        "marketing",
        board=board,
        nonces=MemoryNonceStore(),
        audit=witness,
        metrics=AuthzMetrics(CollectorRegistry(), "marketing"),
        key_finder=finder,
        clock=lambda: NOW,
    )
    made.install(RULES)
    asked = [request(token=token(rsa_key("new"), {"kid": kid})) for kid in ("new", "cursed", "unknown", "new")]
    responses = await answered(CheckService(made), asked)
    assert [outcome(each) for each in responses] == ["allowed", "internal_error", "token_invalid", "allowed"]
    assert sorted(finder.asked) == ["cursed", "new", "unknown"]
    assert len(witness.events) == 4


async def test_a_check_that_is_given_up_while_it_waits_is_recorded_as_a_refusal_and_the_others_are_answered() -> None:
    witness = Witness()
    service = CheckService(authorizer(witness=witness, rules=AGENTS))
    waiting = [service.begin(check(signed()).SerializeToString(), 0.0) for _ in range(2)]
    unsettled = [each for each in waiting if isinstance(each, Unsettled)]
    assert len(unsettled) == 2
    unsettled[0].given_up = True
    answers = [pb.CheckResponse.FromString(each) for each in await service.settle(unsettled)]
    assert [outcome(each) for each in answers] == ["internal_error", "allowed"]
    assert [(event.outcome, event.cause) for event in witness.events] == [
        ("denied", "given up by whoever asked"),
        ("allowed", ""),
    ]


HEADERS = st.dictionaries(
    st.sampled_from(["x-user-id", "x-request-id", "user-agent", "content-length", "x-api-key", "x-odd"]),
    st.text("abc019 {}\u00e9", max_size=12),
    max_size=3,
)
ASKED = st.builds(
    request,
    route=st.sampled_from([*RULES.routes, "nonsense"]),
    method=st.sampled_from(["GET", "POST", "PUT"]),
    headers=HEADERS,
    token=st.sampled_from([TOKEN, TOKEN[:-4] + "AAAA", token(scopes=[]), None]),
    json_body=st.sampled_from([None, CONTENT, {"topic": 1}]),
)


async def asked_of(kind: ServerKind, messages: Sequence[bytes]) -> list[bytes]:
    """What a server answers to all of them at once, in their order."""
    server = await serve(authorizer(), "127.0.0.1:0", kind)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/Check")
        answers = await asyncio.gather(*(call(message) for message in messages))
    await server.stop(0)
    return list(answers)


@settings(max_examples=15, deadline=None)
@given(st.lists(ASKED, min_size=1, max_size=30))
def test_both_servers_answer_drawn_requests_alike_and_in_their_order(asked: list[Request]) -> None:
    messages = [check(each).SerializeToString() for each in asked]
    service = CheckService(authorizer())
    alone = [service.begin(message, time.perf_counter()) for message in messages]

    async def both() -> list[list[bytes]]:
        return [await asked_of(kind, messages) for kind in KINDS]

    for answers in asyncio.run(both()):
        found = [pb.CheckResponse.FromString(answer) for answer in answers]
        assert found == [pb.CheckResponse.FromString(each) for each in alone if isinstance(each, bytes)]
        assert len(found) == len(alone)
