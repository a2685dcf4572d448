"""An examination says what each check says, the later ones too, agrees with the decision, and leaves nothing behind."""

import pytest

from authz.examination import Examination, Said, examine
from authz.pipeline import CHECKS, decide
from authz.reasons import Reason
from authz.request import Request
from tests.unit.authz.world import AGENTS, API_KEY, CONTENT, NOW, facts, request, rules, signed, token

RULES = rules()


def ask(asked: Request) -> Examination:
    return examine(asked, AGENTS if asked.gateway == "agents" else RULES, facts(), NOW)


def said(found: Examination) -> dict[str, object]:
    return {one.check: one.refusal.reason if one.refusal is not None else one.said for one in found.verdicts}


def test_every_check_has_a_verdict_in_the_order_of_the_contract() -> None:
    found = ask(request(method="POST", token=token(), json_body=CONTENT))
    assert [one.check for one in found.verdicts] == [check.__name__.removeprefix("check_") for check in CHECKS]
    assert set(said(found).values()) == {Said.PASSED}
    assert found.decision.allowed


def test_checks_after_the_first_refusal_are_asked_too() -> None:
    bad = token(role="student", scopes=[], tier="gold")
    found = said(ask(request("content", method="POST", token=bad, json_body={})))
    assert found["callers"] is Reason.CALLER_NOT_ADMITTED
    assert found["scopes"] is Reason.INSUFFICIENT_SCOPE
    assert found["tier"] is Reason.TIER_UNKNOWN
    assert found["schema"] is Reason.BODY_INVALID
    assert found["rules"] is Said.UNANSWERABLE


def test_what_nothing_can_be_said_of_says_what_it_lacks() -> None:
    found = ask(request("office", method="PUT", address="198.51.100.1", token="garbage"))
    told = said(found)
    assert (told["network"], told["identity"]) == (Reason.ADDRESS_NOT_ALLOWED, Reason.TOKEN_INVALID)
    assert told["method"] is Reason.METHOD_NOT_ALLOWED
    whys = {one.check: one.why for one in found.verdicts if one.said is Said.UNANSWERABLE}
    assert whys["callers"] == "needs who calls"
    assert whys["schema"] == "needs a method that is served"
    assert found.refusal is not None
    assert found.refusal.reason is Reason.ADDRESS_NOT_ALLOWED


def test_a_public_route_and_a_mode_that_is_off_ask_less() -> None:
    assert {said(ask(request("docs")))[each] for each in ("callers", "scopes", "tier")} == {Said.NOT_ASKED}
    off = rules(mode="off")
    found = said(examine(request(token="x", rules=off), off, facts(), NOW))
    assert found.pop("target") is Said.PASSED
    assert set(found.values()) == {Said.NOT_ASKED}


def test_shadow_is_explained_with_what_it_waives() -> None:
    shadow = rules(mode="shadow")
    found = examine(request(rules=shadow), shadow, facts(), NOW)
    assert found.decision.allowed
    assert found.decision.waived == found.refusal
    assert found.refusal is not None


def test_a_request_of_no_route_has_no_verdicts_but_its_refusal() -> None:
    found = ask(request("nowhere", token=token()))
    assert found.verdicts == ()
    assert found.refusal is not None
    assert found.refusal.reason is Reason.ROUTE_UNKNOWN


@pytest.mark.parametrize(
    "asked",
    [
        request(),
        request(token=token()),
        request(token=token(scopes=[])),
        request(key=API_KEY),
        request(method="PUT", token=token()),
        request("docs", method="PUT"),
        request("office", address="198.51.100.1"),
        request(path="/api/marketing/content?token=x"),
        request(path="/api/marketing/content//x", token=token()),
        signed(),
        signed(secret=b"x" * 32),
    ],
)
def test_the_first_refusal_is_the_decision_s(asked: Request) -> None:
    found = ask(asked)
    decision = decide(asked, AGENTS if asked.gateway == "agents" else RULES, facts(), NOW)
    first = next((one.refusal for one in found.verdicts if one.refusal is not None), None)
    assert first == decision.refusal == found.refusal


def test_no_nonce_is_spent_and_the_claim_is_told() -> None:
    assert ask(signed()).claim is not None
