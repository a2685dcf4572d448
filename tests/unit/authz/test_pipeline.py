"""The decision as a whole: the order of the checks, which credential counts, and that doubt is a refusal."""

from dataclasses import replace

import pytest

from authz.decision import Decision, MissingKey, NonceClaim
from authz.pipeline import CHECKS, decide
from authz.principal import NOBODY, Kind
from authz.reasons import ANSWERS, Reason
from authz.request import Request
from tests.unit.authz.world import (
    ADMIN_ISSUER,
    AGENTS,
    API_KEY,
    CONTENT,
    KEYS,
    MESSAGE,
    NOW,
    facts,
    request,
    rsa_key,
    rules,
    signed,
    token,
)

RULES = rules()


def ask(asked: Request) -> Decision:
    return decide(asked, AGENTS if asked.gateway == "agents" else RULES, facts(), NOW)


def reason(asked: Request) -> Reason | None:
    refusal = ask(asked).refusal
    return None if refusal is None else refusal.reason


def admin_token(**changes: object) -> str:
    good = {"iss": ADMIN_ISSUER, "role": "admin", "tier": "internal", "scopes": ["marketing:*"]}
    return token(rsa_key("admin"), **{**good, **changes})


@pytest.mark.requirement("R12", "R38")
def test_a_good_request_is_allowed_and_says_who_made_it() -> None:
    found = ask(request(method="POST", token=token(), json_body=CONTENT))
    assert found.allowed
    assert found.principal.subject == "user_1"
    assert found.route is RULES.routes["content"]


@pytest.mark.attack("A68")
@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"gateway": "sales"}, Reason.GATEWAY_UNKNOWN),
        ({"gateway": ""}, Reason.GATEWAY_UNKNOWN),
        ({"policy": "0000"}, Reason.POLICY_UNKNOWN),
        ({"policy": ""}, Reason.POLICY_UNKNOWN),
        ({"route": "other"}, Reason.ROUTE_UNKNOWN),
        ({"route": ""}, Reason.ROUTE_UNKNOWN),
        ({"listener": "other"}, Reason.LISTENER_UNKNOWN),
        ({"listener": ""}, Reason.LISTENER_UNKNOWN),
        ({"defect": Reason.HEADER_INVALID}, Reason.HEADER_INVALID),
        ({"defect": Reason.CHECK_EMPTY}, Reason.CHECK_EMPTY),
    ],
)
def test_a_check_that_does_not_fit_the_rules_is_refused_with_its_own_reason(
    changes: dict[str, object], wanted: Reason
) -> None:
    asked = replace(request(token=token()), **changes)  # type: ignore[arg-type]
    found = ask(asked)
    assert found.refusal is not None
    assert found.refusal.reason is wanted
    assert found.principal is NOBODY


@pytest.mark.requirement("R12", "R14", "R33", "R60", "R68")
@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (request(), Reason.TOKEN_MISSING),
        (request(headers={"authorization": "Basic dXNlcjpwYXNz"}), Reason.TOKEN_MISSING),
        (request(headers={"authorization": "Bearer"}), Reason.TOKEN_INVALID),
        (request(headers={"authorization": "Bearer "}), Reason.TOKEN_INVALID),
        (request(headers={"authorization": f"bearer {token()}"}), None),
        (request(headers={"authorization": f"Bearer  {token()} "}), None),
        (request(headers={"authorization": f"Bearer {token()},Bearer {token()}"}), Reason.TOKEN_INVALID),
        (request(headers={"authorization": f"Bearer {API_KEY}"}), Reason.TOKEN_INVALID),
        (request(headers={"cookie": f"access_token={token()}"}), Reason.TOKEN_MISSING),
        (request(token=token(exp=NOW - 100, iat=NOW - 200)), Reason.TOKEN_EXPIRED),
        (request(key=API_KEY), None),
        (request(key=API_KEY[:-1]), Reason.KEY_INVALID),
        (request(key=f"{API_KEY},{API_KEY}"), Reason.KEY_INVALID),
        (request(headers={"cookie": f"x-api-key={API_KEY}"}), Reason.TOKEN_MISSING),
        (request(key=API_KEY, token=token()), Reason.CREDENTIALS_AMBIGUOUS),
        (request(key="nonsense", token=token()), Reason.CREDENTIALS_AMBIGUOUS),
        (request("admin", token=admin_token()), None),
        (request("admin", token=token(role="admin", tier="internal")), Reason.CALLER_NOT_ADMITTED),
        (request("admin", key=API_KEY), Reason.TOKEN_MISSING),
        (request("admin", key=API_KEY, token=admin_token()), None),
        (request(token=admin_token()), Reason.CALLER_NOT_ADMITTED),
        (replace(signed(), gateway="marketing", policy=RULES.version, route="plain"), Reason.ROUTE_MISMATCH),
        (request(headers=signed().headers), Reason.TOKEN_MISSING),
        (signed(), None),
        (signed(headers={"authorization": f"Bearer {token()}"}), None),
        (replace(signed(), headers={"authorization": f"Bearer {token()}"}), Reason.SIGNATURE_MISSING),
        (replace(signed(), headers={"signature": "sig1=:AAAA:"}), Reason.SIGNATURE_INVALID),
        (signed(method="GET"), None),
        (request("docs"), None),
        (request("docs", token="nonsense"), None),
    ],
)
def test_each_gateway_takes_the_credentials_that_its_policy_names(asked: Request, wanted: Reason | None) -> None:
    assert reason(asked) is wanted


@pytest.mark.attack("A12", "A55")
@pytest.mark.requirement("R95")
@pytest.mark.parametrize(
    "path",
    [
        f"/api/marketing/content?api_key={API_KEY}",
        f"/api/marketing/content?x={API_KEY}",
        f"/api/marketing/content?x=waw%5Flive%5Fsk%5F{'A' * 20}",
        f"/api/marketing/content/{API_KEY}",
        "/api/marketing/content?access_token=x",
        "/api/marketing/content?a=b&Access_Token=x",
        "/api/marketing/content?access%5ftoken=x",
        "/api/marketing/content?a=b;api_key=x",
        "/api/marketing/content?apikey",
        "/api/marketing/content?jwt=x",
        "/api/marketing/content?token=x",
        "/api/marketing/content?id_token=x",
        "/api/marketing/content?authorization=Bearer%20x",
        "/api/marketing/content?a=b&+token=x",
        "/api/marketing/content?token%5B%5D=x",
        "/api/marketing/content?access.token=x",
        "/api/marketing/content?next=%2F%3Fa%26token%3Dx",
        "/api/marketing/content?x=waw_test_sk_x",
        "/api/marketing/content?x=WAW_LIVE_SK_x",
        f"/api/marketing/content?x={token()}",
        f"/api/marketing/content?x=a%20{token().replace('.', '%2e')}",
        f"/api/marketing/content/{token()}",
    ],
)
@pytest.mark.parametrize("route", ["content", "docs"])
def test_a_credential_in_the_url_is_refused_whatever_else_is_shown(route: str, path: str) -> None:
    there = path.replace("content", route, 1)
    assert reason(request(route, there, token=token())) is Reason.CREDENTIALS_IN_URL


@pytest.mark.parametrize("query", ["?", "?a=1&tokens=2", "?key=1", "?q=access_token", "?q=eyes.and.ears"])
def test_a_query_without_a_credential_passes(query: str) -> None:
    assert reason(request(path=f"/api/marketing/content{query}", token=token())) is None


GOOD = {
    "check_target": {},
    "check_network": {"address": "192.0.2.1"},
    "check_identity": {},
    "check_method": {"method": "POST"},
}


def test_the_order_of_the_checks_is_the_contracts() -> None:
    assert [check.__name__ for check in CHECKS] == [
        "check_target",
        "check_network",
        "check_identity",
        "check_method",
        "check_callers",
        "check_scopes",
        "check_tier",
        "check_schema",
        "check_sender",
        "check_rules",
    ]


def test_what_is_mended_in_order_shows_each_refusal_in_turn() -> None:
    bad: dict[str, object] = {"role": "student", "scopes": [], "tier": "gold"}
    steps: list[tuple[Reason | None, dict[str, object]]] = [
        (Reason.ADDRESS_NOT_ALLOWED, {"address": "198.51.100.1", "method": "PUT"}),
        (Reason.TOKEN_MISSING, {"method": "PUT"}),
        (Reason.METHOD_NOT_ALLOWED, {"method": "PUT", "token": token(**bad)}),
        (Reason.CALLER_NOT_ADMITTED, {"method": "POST", "token": token(**bad)}),
        (Reason.INSUFFICIENT_SCOPE, {"method": "POST", "token": token(**{**bad, "role": "customer"})}),
        (Reason.TIER_UNKNOWN, {"method": "POST", "token": token(tier="gold")}),
        (None, {"method": "POST", "token": token()}),
    ]
    for wanted, changes in steps:
        assert reason(request("office", **changes)) is wanted  # type: ignore[arg-type]
    assert reason(request(method="POST", token=token(tier="gold"))) is Reason.TIER_UNKNOWN
    assert reason(request(method="POST", token=token())) is Reason.BODY_MISSING


@pytest.mark.requirement("R60", "R62")
def test_a_signed_message_is_allowed_with_its_nonce_still_to_be_spent() -> None:
    found = ask(signed(nonce="nonce-of-this-test"))
    assert found.allowed
    assert found.claim == NonceClaim("content", "nonce-of-this-test", 131)
    assert found.principal.kind is Kind.SIGNATURE


@pytest.mark.attack("A29")
@pytest.mark.requirement("R62")
def test_a_message_in_anothers_name_is_refused_and_its_nonce_is_spent_all_the_same() -> None:
    import json

    found = ask(signed(body=json.dumps({**MESSAGE, "sender": "vision"}).encode()))
    assert found.refusal is not None
    assert found.refusal.reason is Reason.SENDER_MISMATCH
    assert found.claim is not None


def test_a_signature_that_is_not_good_spends_no_nonce() -> None:
    found = ask(signed(secret=b"x" * 32))
    assert not found.allowed
    assert found.claim is None


def test_an_unknown_key_is_reported_with_the_refusal() -> None:
    found = ask(request(token=token(header={"kid": "new"})))
    assert found.refusal is not None
    assert found.refusal.reason is Reason.TOKEN_INVALID
    assert found.missing_key == MissingKey(KEYS["customer"], "new")


@pytest.mark.attack("A18")
def test_a_token_is_verified_once_per_policy_version() -> None:
    known = rules()
    asked = request(token=token())
    first = decide(asked, known, facts(), NOW)
    again = decide(asked, known, facts(), NOW)
    assert first.principal is again.principal
    assert decide(asked, rules(), facts(), NOW).principal is not first.principal


def test_a_remembered_token_is_still_checked_for_everything_else() -> None:
    text = token(scopes=["marketing:read"])
    assert reason(request(token=text)) is None
    assert reason(request(method="POST", token=text, json_body=CONTENT)) is Reason.INSUFFICIENT_SCOPE
    assert reason(request("admin", token=text)) is Reason.CALLER_NOT_ADMITTED
    assert reason(request("office", token=text, address="198.51.100.1")) is Reason.ADDRESS_NOT_ALLOWED


def test_a_principal_and_its_decision_hold_no_credential() -> None:
    text = token()
    assert text not in repr(ask(request(token=text)).principal)
    assert API_KEY not in repr(ask(request(key=API_KEY)).principal)


def test_every_reason_has_an_answer_and_every_answer_is_an_error() -> None:
    assert set(ANSWERS) == set(Reason)
    for answer in ANSWERS.values():
        assert answer.status in {400, 401, 403, 405, 413, 415, 429, 422, 503}
        assert answer.title
        assert answer.detail.endswith(".")
