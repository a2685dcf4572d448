"""Who is refused, gateway by gateway: each refusal has its status, its code and its body, and no service sees it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.client import CONTENT, LEAD, QUESTION, Client, problem
from tests.support.tokens import ADMITTED, Fresh, Tokens

PATHS = {"marketing": "/api/marketing/content", "education": "/api/education/math", "sales": "/api/sales/leads"}
BODIES = {"marketing": CONTENT, "education": QUESTION, "sales": LEAD}
OTHER_ROLE = {"marketing": "student", "education": "company", "sales": "customer"}


def _foreign(tokens: Tokens, fresh: Fresh, gateway: str) -> str:
    # Signed by the customer issuer's key, and says that another issuer made it (A11).
    return tokens.of(gateway, fresh, iss="https://auth.example.com")


def _tampered(tokens: Tokens, fresh: Fresh, gateway: str) -> str:
    header, payload, signature = tokens.of(gateway, fresh).split(".")
    return f"{header}.{payload[:-2]}{'AA' if payload[-2:] != 'AA' else 'BB'}.{signature}"


@dataclass(frozen=True, slots=True)
class Case:
    token: Callable[[Tokens, Fresh, str], str | None]
    status: int
    code: str


CASES = {
    "no token": Case(lambda t, f, g: None, 401, "token_missing"),
    "not a token": Case(lambda t, f, g: "garbage", 401, "token_invalid"),
    "tampered": Case(_tampered, 401, "token_invalid"),
    "expired": Case(lambda t, f, g: t.of(g, f, exp=1_700_000_000, iat=1_699_999_000), 401, "token_expired"),
    "no expiry": Case(lambda t, f, g: t.of(g, f, exp=None), 401, "token_invalid"),
    "wrong issuer": Case(_foreign, 401, "token_invalid"),
    "wrong audience": Case(lambda t, f, g: t.of(g, f, aud="https://other.example.com"), 401, "token_invalid"),
    "wrong role": Case(lambda t, f, g: t.of(g, f, role=OTHER_ROLE[g]), 403, "caller_not_admitted"),
    "admin role of the customer issuer": Case(lambda t, f, g: t.of(g, f, role="admin"), 403, "caller_not_admitted"),
    "no scope of this gateway": Case(lambda t, f, g: t.of(g, f, scopes=["other:*"]), 403, "insufficient_scope"),
    "only the reading scope": Case(lambda t, f, g: t.of(g, f, scopes=[f"{g}:read"]), 403, "insufficient_scope"),
    "unknown tier": Case(lambda t, f, g: t.of(g, f, tier="platinum"), 403, "tier_unknown"),
    "tier that is spelt otherwise": Case(lambda t, f, g: t.of(g, f, tier="Enterprise"), 403, "tier_unknown"),
    "tier that this gateway has not": Case(lambda t, f, g: t.of(g, f, tier="internal"), 403, "tier_not_admitted"),
    "an administrator": Case(lambda t, f, g: t.admin(f), 403, "caller_not_admitted"),
}


@pytest.mark.requirement(
    "R12", "R38", "R46", "R53", "R68", "R70", "R76", "R86", "R87", "R88", "R89", "R90", "R91", "R103"
)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("gateway", PATHS)
def test_a_domain_gateway_refuses(gateway: str, case: str, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    wanted = CASES[case]
    before = client.hits(gateway)
    token = wanted.token(tokens, fresh, gateway)
    answer = client.call("POST", PATHS[gateway], token=token, json=BODIES[gateway])
    body = problem(answer)
    assert (answer.status_code, body["code"]) == (wanted.status, wanted.code), body
    assert client.hits(gateway) == before
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.requirement("R92")
def test_an_expired_token_is_told_apart_so_that_a_client_refreshes(
    client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    expired = tokens.of("marketing", fresh, exp=1_700_000_000, iat=1_699_999_000)
    answer = client.call("GET", PATHS["marketing"], token=expired)
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert "expired" in answer.headers["www-authenticate"]
    silent = client.call("GET", PATHS["marketing"])
    assert "error=" not in silent.headers["www-authenticate"]


@pytest.mark.requirement("R38", "R46", "R53")
@pytest.mark.parametrize("gateway", PATHS)
def test_the_reading_scope_reads(gateway: str, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = client.call("GET", PATHS[gateway], token=tokens.of(gateway, fresh, scopes=[f"{gateway}:read"]))
    assert answer.status_code == 200, answer.text


@pytest.mark.requirement("R46")
def test_a_parent_is_admitted_to_education(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("education", fresh, role="parent")
    assert client.call("GET", PATHS["education"], token=token).status_code == 200


@pytest.mark.requirement("R33", "R75")
def test_the_platform_admits_only_administrators_of_the_admin_issuer(
    internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = internal.hits("platform")
    for token in (
        tokens.customer(sub=fresh("user"), role="admin", tier="internal", scopes=["platform:*"]),
        tokens.of("marketing", fresh),
        tokens.admin(fresh, role="operator"),
    ):
        answer = internal.call("GET", "/api/platform/admin/logs", token=token)
        body = problem(answer)
        assert (answer.status_code, body["detail"]) == (403, "Admin access required")
    assert problem(internal.call("GET", "/api/platform/admin/logs"))["code"] == "token_missing"
    assert internal.hits("platform") == before


@pytest.mark.requirement("R35", "R75")
def test_the_platform_admits_administrators_only_from_the_internal_network(
    internal: Client, outside: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.admin(fresh)
    assert internal.call("GET", "/api/platform/admin/logs", token=token).status_code == 200
    before = outside.hits("platform")
    for path in ("/api/platform/admin/logs", "/api/platform/metrics"):
        for spoof in ({}, {"x-forwarded-for": "10.0.0.1"}, {"x-real-ip": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"}):
            answer = outside.call("GET", path, token=token, headers=spoof)
            assert (answer.status_code, problem(answer)["code"]) == (403, "address_not_allowed")
    assert outside.hits("platform") == before
    assert outside.call("GET", "/api/platform/health").status_code == 200


@pytest.mark.requirement("R60")
def test_a_signature_opens_no_domain_gateway(client: Client) -> None:
    signed = {
        "signature-input": 'sig1=("@method" "@authority" "@path" "@query" "content-digest");created=1;nonce="n";'
        'keyid="content";alg="hmac-sha256";tag="waooaw-agent"',
        "signature": "sig1=:AAAA:",
    }
    answer = client.call("POST", PATHS["marketing"], json=CONTENT, headers=signed)
    assert (answer.status_code, problem(answer)["code"]) == (401, "token_missing")


@pytest.mark.requirement("R37", "R45", "R52")
@pytest.mark.parametrize("gateway", PATHS)
def test_other_methods_are_405_and_name_the_good_ones_after_authentication(
    gateway: str, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    for method in ("PUT", "PATCH", "DELETE"):
        assert client.call(method, PATHS[gateway]).status_code == 401
        answer = client.call(method, PATHS[gateway], token=tokens.of(gateway, fresh))
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
        assert problem(answer)["code"] == "method_not_allowed"


@pytest.mark.requirement("R37", "R45", "R52")
@pytest.mark.parametrize(
    ("gateway", "agents"),
    [
        ("marketing", ["content", "social", "seo", "email", "ppc", "brand", "influencer"]),
        ("education", ["math", "science", "english", "test-prep", "career", "study", "homework"]),
        ("sales", ["sdr", "ae", "enablement", "crm", "leads"]),
    ],
)
def test_every_agent_of_the_design_is_served(
    gateway: str, agents: list[str], client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    role, scope = ADMITTED[gateway]
    token = tokens.customer(sub=fresh("user"), role=role, tier="business", scopes=[scope])
    for agent in agents:
        answer = client.call("GET", f"/api/{gateway}/{agent}/requests/1", token=token)
        assert answer.status_code == 200, (agent, answer.text)
