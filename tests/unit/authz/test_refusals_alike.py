"""Refusals that must look alike take the same way through the code, call by call (attacks A25, A30, A56).

How long they take is shown by `bench/timing_of_refusals.py`; here no clock is looked at.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType

import pytest

from authz.case import Case
from authz.checks.identity import check_identity
from authz.decision import Refusal
from authz.facts import PartnerKeys
from authz.problem import problem_body
from authz.reasons import ANSWERS
from authz.request import Request
from authz.rules import Rules
from bench.timing_of_refusals import pairs, signature
from tests.unit.authz.world import AGENTS, API_KEY, NOW, facts, partner_key, request, rules


def case(asked: Request, known: Rules) -> Case:
    return Case(asked, known, known.routes[asked.route], facts(), NOW)


def way(call: Callable[[], object]) -> list[str]:
    """Every function that is called, ours and those in C, in their order."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)
        elif event == "c_call":
            calls.append(getattr(argument, "__qualname__", str(argument)))

    call()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.attack("A25", "A30", "A56")
@pytest.mark.parametrize("name", pairs())
def test_refusals_that_look_alike_take_one_way(name: str) -> None:
    known, one, other = pairs()[name]
    ways, answers = [], []
    for asked in (one, other):
        judged = case(asked, known)
        refusal = check_identity(judged)
        assert refusal is not None
        answers.append((refusal.reason, refusal.status, problem_body(refusal, "")))
        ways.append(way(lambda judged=judged: check_identity(judged)))  # type: ignore[misc]
    assert answers[0] == answers[1]
    assert ways[0] == ways[1]


@pytest.mark.attack("A25", "A30")
@pytest.mark.requirement("R60")
def test_an_unknown_agents_signature_is_compared_like_a_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return False

    monkeypatch.setattr("authz.identity.hmac_signature.hmac.compare_digest", compare)
    for agent in ("content", "nobody"):
        check_identity(case(signature(bytes(32), agent), AGENTS))
    assert compared == [(32, 32)] * 2


@pytest.mark.attack("A56")
@pytest.mark.requirement("R95")
def test_an_expired_a_revoked_and_an_unknown_key_are_one_answer() -> None:
    asked = request("plain", key=API_KEY)
    digests = facts().partner_keys
    assert digests is not None
    expired = PartnerKeys({digest: partner_key(expires_at=NOW) for digest in digests.by_digest})
    answers = []
    for keys in (expired, PartnerKeys({})):
        judged = case(asked, rules())
        judged.facts = replace(judged.facts, partner_keys=keys)
        refusal = check_identity(judged)
        assert isinstance(refusal, Refusal)
        answers.append((refusal.status, refusal.sentence, problem_body(refusal, "r")))
    assert answers[0] == answers[1]


@pytest.mark.attack("A25")
def test_a_signature_that_is_not_ascii_is_refused_and_raises_nothing() -> None:
    for text in ("sig1=:é:", "sig1=:\udce9:", "sig1=:" + "\u0661" * 43 + "=:"):
        asked: Request = signature(bytes(32))
        asked = replace(asked, headers={**asked.headers, "signature": text})
        refusal = check_identity(case(asked, AGENTS))
        assert refusal is not None
        assert ANSWERS[refusal.reason].status == 401
