"""The central gateway's door: TLS, redirect, routing, request ids, and the client's headers that go no further."""

import ssl
import uuid

import httpx2
import pytest

from tests.support.client import CONTENT, LEAD, QUESTION, Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

DOMAIN_REQUESTS = {
    "marketing": ("/api/marketing/content", CONTENT),
    "education": ("/api/education/math", QUESTION),
    "sales": ("/api/sales/leads", LEAD),
}


@pytest.mark.requirement("R10", "R73")
def test_the_certificate_is_good_for_every_name_of_the_edge(stack: Stack) -> None:
    context = ssl.create_default_context(cafile=stack.ca_file)
    port = stack.ready.central.https.rsplit(":", 1)[1]
    for name in ("localhost", "127.0.0.1", "api.waooaw.ai"):
        with httpx2.Client(verify=context) as client:
            answer = client.get(
                f"https://127.0.0.1:{port}/api/platform/health",
                headers={"host": f"{name}:{port}"},
                extensions={"sni_hostname": name},
            )
        assert answer.status_code == 200


@pytest.mark.requirement("R73")
def test_a_client_that_does_not_know_the_authority_refuses_the_edge(stack: Stack) -> None:
    with pytest.raises(httpx2.ConnectError, match="certificate"), httpx2.Client() as client:
        client.get(stack.ready.central.https + "/api/platform/health")


@pytest.mark.requirement("R10")
def test_plain_http_is_sent_to_https_and_served_nothing(client: Client, stack: Stack) -> None:
    before = client.hits("platform")
    answer = client.call("GET", "/api/platform/health?a=b", door="http")
    assert answer.status_code == 301
    assert answer.headers["location"] == stack.ready.central.https + "/api/platform/health?a=b"
    assert client.hits("platform") == before


@pytest.mark.requirement("R1", "R9", "R15", "R16")
@pytest.mark.parametrize("gateway", DOMAIN_REQUESTS)
def test_each_prefix_reaches_its_own_service_with_its_path_unchanged(
    gateway: str, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    path, body = DOMAIN_REQUESTS[gateway]
    before = client.hits(gateway)
    answer = client.call("POST", path + "/drafts?x=1&y=%20z", token=tokens.of(gateway, fresh), json=body)
    assert answer.status_code == 200, answer.text
    echo = answer.json()
    assert echo["service"] == gateway
    assert echo["path"] == path + "/drafts?x=1&y=%20z"
    assert client.hits(gateway) == before + 1


@pytest.mark.requirement("R15", "R28")
def test_the_platform_prefix_reaches_the_platform_service(internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = internal.call("GET", "/api/platform/admin/logs", token=tokens.admin(fresh))
    assert answer.status_code == 200, answer.text
    assert answer.json().keys() == {"requests", "next"}


@pytest.mark.requirement("R26")
def test_every_answer_and_the_service_hold_the_same_request_id(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = client.call("GET", "/api/marketing/content", token=tokens.of("marketing", fresh))
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]
    assert str(uuid.UUID(request_id)) == request_id
    assert answer.json()["headers"]["x-request-id"] == request_id


@pytest.mark.requirement("R26")
def test_a_refusal_names_its_request_id_in_header_and_body(client: Client) -> None:
    answer = client.call("GET", "/api/marketing/content", headers={"x-request-id": "of-the-client"})
    body = problem(answer)
    assert str(uuid.UUID(answer.headers["x-request-id"])) == body["request_id"]


@pytest.mark.requirement("R8", "R37")
def test_a_path_that_nobody_serves_is_404_with_the_common_body(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    for path in ("/", "/api", "/api/unknown", "/api/marketingx/content"):
        assert problem(client.call("GET", path))["status"] == 404
    unknown = client.call("GET", "/api/marketing/nothing", token=tokens.of("marketing", fresh))
    assert problem(unknown)["status"] == 404


def test_identity_headers_of_a_client_never_reach_a_service(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    forged = {
        "x-waooaw-subject": "root",
        "x-waooaw-tenant": "victim",
        "x-waooaw-role": "admin",
        "x-waooaw-tier": "enterprise",
        "x-waooaw-scopes": "*",
        "x-waooaw-agent": "vision",
        "x-waooaw-partner": "acme",
        "x-waooaw-client-address": "10.0.0.1",
        "x-user-id": "root",
        "x-tenant-id": "victim",
        "x-scopes": "*",
        "x-tier": "enterprise",
        "x-auth-request-user": "root",
        "x-consumer-username": "root",
        "x-forwarded-host": "evil.example",
        "x-real-ip": "10.0.0.1",
        "x-original-url": "/api/platform/admin",
        "x-rewrite-url": "/api/platform/admin",
        "x-http-method-override": "DELETE",
        "x-envoy-original-path": "/api/platform/admin",
    }
    subject = fresh("user")
    token = tokens.customer(sub=subject, role="customer", tier="business", scopes=["marketing:read"])
    answer = client.call("GET", "/api/marketing/content", token=token, headers=forged)
    assert answer.status_code == 200, answer.text
    seen = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert seen["x-waooaw-subject"] == subject
    assert seen["x-waooaw-tier"] == "business"
    assert seen["x-waooaw-role"] == "customer"
    kept = {name: seen[name] for name in forged if name in seen} if seen else {}
    for name, value in kept.items():
        assert value != forged[name], f"{name} of the client reached the service"


def test_identity_headers_of_a_client_are_removed_on_public_routes_too(client: Client) -> None:
    # The health route's body is the platform's own, so the route itself is asked through its headers' effect:
    # a forged address may neither open nor close anything, and the answer is the same.
    answer = client.call("GET", "/api/platform/health", headers={"x-waooaw-client-address": "not an address"})
    assert answer.status_code == 200


def test_credentials_stop_at_the_last_gateway(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = client.call(
        "GET", "/api/marketing/content", token=tokens.of("marketing", fresh), headers={"cookie": "refresh_token=secret"}
    )
    assert answer.status_code == 200, answer.text
    assert not {"authorization", "cookie", "x-api-key"} & set(answer.json()["headers"])


@pytest.mark.requirement("R7", "R105")
def test_only_declared_origins_pass_a_preflight(client: Client) -> None:
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    good = client.call("OPTIONS", "/api/marketing/content", headers={"origin": "https://app.waooaw.ai", **asks})
    assert good.status_code == 200
    assert good.headers["access-control-allow-origin"] == "https://app.waooaw.ai"
    for origin in ("https://evil.example", "https://waooaw.ai.evil.example", "http://waooaw.ai", "null"):
        before = client.hits("marketing")
        bad = client.call("OPTIONS", "/api/marketing/content", headers={"origin": origin, **asks})
        assert "access-control-allow-origin" not in bad.headers
        assert client.hits("marketing") == before


@pytest.mark.requirement("R105")
def test_refusals_carry_cors_headers_so_that_a_page_can_read_them(client: Client) -> None:
    answer = client.call("GET", "/api/marketing/content", headers={"origin": "https://waooaw.ai"})
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == "https://waooaw.ai"


@pytest.mark.requirement("R29")
def test_health_is_public_and_says_how_its_parts_are(client: Client) -> None:
    body = client.call("GET", "/api/platform/health").json()
    assert body["status"] in {"healthy", "degraded", "down"}
    assert set(body["components"]) == {"database", "redis", "gateways", "agents"}
    assert body["timestamp"].endswith(("Z", "+00:00"))


def test_every_gateway_answers_its_own_health_check(client: Client) -> None:
    assert client.call("GET", "/healthz").status_code == 200
