"""Business rules through real Envoys: each kind refuses, what it refuses reaches no service, and the good passes."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.client import LEAD, QUESTION, Client, problem
from tests.support.published import eventually
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

MATH, LEADS, DEALS, ACCOUNTS = "/api/education/math", "/api/sales/leads", "/api/sales/ae", "/api/sales/crm"
OPPORTUNITY = {"account_id": "a-1", "name": "Renewal", "stage": "proposal"}
CHILD = "2019-04-01"

Refused = Callable[[str, str, str, object], dict[str, object]]


@pytest.fixture
def refused(client: Client) -> Refused:
    """Sends a POST that must be refused ahead of the service; its problem."""

    def send(service: str, path: str, token: str, body: object) -> dict[str, object]:
        before = client.hits(service)
        answer = client.call("POST", path, token=token, json=body)
        assert client.hits(service) == before, answer.text
        return problem(answer)

    return send


def _rules(said: dict[str, object]) -> set[tuple[str, str]]:
    return {(one["pointer"], one["rule"]) for one in said["errors"]}  # type: ignore[attr-defined]


@pytest.mark.requirement("R49", "R77")
@pytest.mark.parametrize(
    "claims",
    [{"birthdate": None}, {"birthdate": "soon"}, {"birthdate": "2099-01-01"}, {"birthdate": None, "age": "40"}],
)
@pytest.mark.parametrize("role", ["student", "parent"])
def test_education_asks_everybody_how_old_they_are(
    role: str, claims: dict[str, object], client: Client, tokens: Tokens, fresh: Fresh, refused: Refused
) -> None:
    token = tokens.of("education", fresh, role=role, **claims)
    said = refused("education", MATH, token, QUESTION)
    assert (said["status"], said["code"]) == (403, "age_unverified")
    assert problem(client.call("GET", MATH, token=token))["code"] == "age_unverified"


@pytest.mark.requirement("R49", "R50", "R77")
def test_a_child_is_served_while_its_parents_consent_is_on_record(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh, refused: Refused
) -> None:
    child, parent = fresh("child"), fresh("parent")
    token = tokens.of("education", fresh, sub=child, birthdate=CHILD)
    said = refused("education", MATH, token, QUESTION)
    assert (said["status"], said["code"]) == (403, "consent_missing")
    granted = json.loads(_consents(stack, "grant", "--child", child, "--parent", parent, "--method", "signed_form"))
    assert client.call("POST", MATH, token=token, json=QUESTION).status_code == 200
    # The record counts, and not what a token says of it.
    named = tokens.of("education", fresh, sub=child, birthdate=CHILD, parental_consent=granted["id"])
    assert client.call("POST", MATH, token=named, json=QUESTION).status_code == 200
    other = tokens.of("education", fresh, sub=child, birthdate=CHILD, parental_consent="c_another")
    assert refused("education", MATH, other, QUESTION)["code"] == "consent_missing"
    stranger = tokens.of("education", fresh, birthdate=CHILD, parental_consent=True)
    assert refused("education", MATH, stranger, QUESTION)["code"] == "consent_missing"
    _consents(stack, "revoke", granted["id"])
    assert refused("education", MATH, token, QUESTION)["code"] == "consent_missing"
    assert [one["status"] for one in json.loads(_consents(stack, "list", "--child", child))] == ["revoked"]


@pytest.mark.requirement("R50")
def test_a_parent_acts_for_its_own_child_alone(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh, refused: Refused
) -> None:
    child, parent = fresh("child"), fresh("parent")
    _consents(stack, "grant", "--child", child, "--parent", parent, "--method", "payment_card")
    token = tokens.of("education", fresh, role="parent", sub=parent)
    stranger = tokens.of("education", fresh, role="parent")

    def ask(token: str, child: str) -> int:
        headers = {"x-child-subject": child}
        return client.call("POST", MATH, token=token, json=QUESTION, headers=headers).status_code

    assert ask(token, child) == 200
    before = client.hits("education")
    assert [ask(token, fresh("child")), ask(stranger, child)] == [403, 403]
    assert client.hits("education") == before


@pytest.mark.attack("A74")
@pytest.mark.requirement("R51")
@pytest.mark.parametrize(
    "question",
    [
        "Where is the leaked exam paper?",
        "Wh\u0435r\u0435 is th\u0435 l\u0435\u0430k\u0435d \u0435x\u0430m p\u0430p\u0435r?",
        "lea\u200bked ex\u200bam",
        "l3@ked ex4m p4per",
        base64.b64encode(b"the leaked exam paper").decode(),
    ],
)
def test_education_answers_no_leaked_exams(question: str, tokens: Tokens, fresh: Fresh, refused: Refused) -> None:
    said = refused("education", MATH, tokens.of("education", fresh), {**QUESTION, "question": question})
    assert (said["status"], said["code"]) == (422, "content_refused")
    assert ("/question", "exam_leak.leaked_paper") in _rules(said)
    assert "leaked exam" not in json.dumps(said)


CONTACT = {"name": "Ada", "email": "ada@example.com", "phone": "+49 30 901820"}


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"notes": "ask ada@example.com"}, "personal_data", ("/notes", "email")),
        ({"notes": "card 4111 1111 1111 1111"}, "personal_data", ("/notes", "card")),
        ({"notes": "DE89 3704 0044 0532 0130 00"}, "personal_data", ("/notes", "iban")),
        ({"company": "+49 30 901820"}, "personal_data", ("/company", "phone")),
        ({"notes": "she was diagnosed with asthma"}, "personal_data", ("/notes", "special_category")),
        ({"contact": CONTACT}, "lawful_basis_missing", ("/lawful_basis", "lawful_basis")),
    ],
)
def test_sales_takes_personal_data_only_where_it_belongs(
    changes: dict[str, object], code: str, place: tuple[str, str], tokens: Tokens, fresh: Fresh, refused: Refused
) -> None:
    said = refused("sales", LEADS, tokens.of("sales", fresh), {**LEAD, **changes})
    assert (said["status"], said["code"], _rules(said)) == (422, code, {place})
    assert "ada@example.com" not in json.dumps(said)


@pytest.mark.requirement("R56")
def test_sales_takes_a_contact_with_a_lawful_basis(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    body = {**LEAD, "contact": CONTACT, "lawful_basis": "legitimate_interest"}
    assert client.call("POST", LEADS, token=tokens.of("sales", fresh), json=body).status_code == 200


@pytest.mark.requirement("R57")
def test_sales_takes_records_of_the_companys_own_crm(
    client: Client, tokens: Tokens, fresh: Fresh, refused: Refused
) -> None:
    record = {"name": "Acme", "crm": "hubspot", "external_id": "12345", "integration": "acme-hubspot"}
    ours, theirs = (tokens.of("sales", fresh, tenant_id=tenant) for tenant in ("company_1", "company_2"))
    assert client.call("POST", ACCOUNTS, token=ours, json=record).status_code == 200
    for token, changes, place in (
        (theirs, {}, ("/integration", "integration")),
        (ours, {"external_id": "12/../345"}, ("/external_id", "external_id")),
        (ours, {"website": "http://2130706433/"}, ("/website", "url")),
        (ours, {"website": "http://[::ffff:10.0.0.1]/"}, ("/website", "url")),
    ):
        said = refused("sales", ACCOUNTS, token, {**record, **changes})
        assert (said["status"], said["code"], _rules(said)) == (422, "crm_invalid", {place})


@pytest.mark.requirement("R58")
def test_sales_takes_scores_that_are_fair(client: Client, tokens: Tokens, fresh: Fresh, refused: Refused) -> None:
    token = tokens.of("sales", fresh)
    good = {**OPPORTUNITY, "score": 80, "factors": {"industry": 0.4, "engagement": 0.6}}
    assert client.call("POST", DEALS, token=token, json=good).status_code == 200
    for changes, rule in (
        ({"score": 101}, "range"),
        ({"factors": {"industry": 0.9}}, "sum"),
        ({"factors": {"gender": 1}}, "protected_attribute"),
    ):
        said = refused("sales", DEALS, token, {**good, **changes})
        assert (said["status"], said["code"]) == (422, "lead_score_invalid")
        assert {one for _, one in _rules(said)} == {rule}


@pytest.mark.attack("A74", "A75")
def test_nothing_that_was_refused_is_in_any_log(stack: Stack, tokens: Tokens, fresh: Fresh, refused: Refused) -> None:
    card, address, leak = "4012 8888 8888 1881", "grace.hopper@example.com", "the leaked exam of tomorrow"
    sales, education = tokens.of("sales", fresh), tokens.of("education", fresh)
    for body in ({"notes": f"{card} {address}"}, {"notes": "x", address: card}, {"company": card, "source": address}):
        assert card not in json.dumps(refused("sales", LEADS, sales, {**LEAD, **body}))
    assert leak not in json.dumps(refused("education", MATH, education, {**QUESTION, "question": leak}))
    logs = list((stack.state_dir / "logs").glob("*.log"))
    assert logs
    for log in logs:
        text = log.read_text(encoding="utf-8", errors="replace")
        assert not [word for word in (card, address, leak) if word in text], log.name


@pytest.mark.attack("A54")
@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "{{7*7}}", "${jndi:ldap://example.com/a}", "$(id)", "<script>x</script>"]
)
def test_what_looks_like_an_injection_reaches_the_service_as_it_is(
    text: str, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    body = json.dumps({**QUESTION, "question": text}).encode()
    token, headers = tokens.of("education", fresh), {"content-type": "application/json"}
    answer = client.call("POST", MATH, token=token, content=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["body_sha256"] == hashlib.sha256(body).hexdigest()
    before = client.hits("sales")
    invalid = client.call("POST", LEADS, token=tokens.of("sales", fresh), json={**LEAD, "source": text})
    assert (invalid.status_code, problem(invalid)["code"]) == (400, "body_invalid")
    assert text not in invalid.text
    assert client.hits("sales") == before


async def test_a_team_adds_a_rule_of_its_own_first_in_shadow_and_then_in_force(
    policies: Path, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("sales", fresh, tier="business")
    file = policies / "sales.yaml"
    before = file.read_text(encoding="utf-8")
    large = {**OPPORTUNITY, "amount": 2_000_000}

    def answer() -> int:
        return client.call("POST", DEALS, token=token, json=large).status_code

    rule = (
        "rules:\n  large-deals:\n    type: expression\n    mode: MODE\n    refusal: Large deals are for enterprises\n"
        "    require: |\n      !has(body.amount) || body.amount < 1000000.0 ||\n        caller.tier == 'enterprise'\n"
    )
    named = before.replace("rules: [privacy, crm-record, lead-score]", "rules: [large-deals]")
    try:
        file.write_text(named.replace("rules:\n", rule.replace("MODE", "shadow"), 1), encoding="utf-8")
        await eventually(lambda: answer() == 200)
        file.write_text(named.replace("rules:\n", rule.replace("MODE", "enforce"), 1), encoding="utf-8")
        await eventually(lambda: answer() == 403)
        said = problem(client.call("POST", DEALS, token=token, json=large))
        assert (said["code"], said["detail"]) == ("rule_refused", "Large deals are for enterprises")
        assert client.call("POST", DEALS, token=token, json=OPPORTUNITY).status_code == 200
        enterprise = tokens.of("sales", fresh, tier="enterprise")
        assert client.call("POST", DEALS, token=enterprise, json=large).status_code == 200
    finally:
        file.write_text(before, encoding="utf-8")
    await eventually(lambda: answer() == 200)


def _consents(stack: Stack, *arguments: str) -> str:
    return stack.run("consents", *arguments, "-o", "json").stdout
