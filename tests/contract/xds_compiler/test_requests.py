"""What a request meets on its way through central and a domain gateway."""

import json
import re
import uuid
from typing import Any

import pytest

from protos import rls_pb2
from tests.contract.xds_compiler.federation import Federation
from tests.contract.xds_compiler.services import allowed, denied

BODY = b'{"topic": "x"}'


def seen(body: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(body)
    return answer


def problem(status: int, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    assert headers["content-type"] == "application/problem+json", (headers, body)
    document: dict[str, Any] = json.loads(body)
    assert document["status"] == status
    assert document["type"] == "https://waooaw.ai/problems/" + document["code"]
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == headers["x-request-id"] != ""
    return document


@pytest.mark.requirement("R16", "U1")
def test_a_path_reaches_its_service_unchanged_through_both_gateways(federation: Federation) -> None:
    status, _, body = federation.call("POST", "/api/marketing/content/a?b=c%20d", body=BODY)
    assert status == 200
    assert seen(body)["path"] == "/api/marketing/content/a?b=c%20d"
    assert [dict(one.attributes.context_extensions) for one in federation.authz.asked] == [
        {"gateway": "central", "listener": "https", "policy": ANY_VERSION, "route": "marketing"},
        {"gateway": "marketing", "listener": "mesh", "policy": ANY_VERSION, "route": "content"},
    ]


@pytest.mark.requirement("R15")
@pytest.mark.parametrize("gateway", ["platform", "marketing", "education", "sales", "agents"])
def test_the_first_part_of_a_path_chooses_the_gateway(federation: Federation, gateway: str) -> None:
    port = federation.internal if gateway == "agents" else federation.https
    federation.call("POST", f"/api/{gateway}/anything", port=port, body=BODY)
    assert federation.authz.asked[0].attributes.context_extensions["route"] == gateway
    upstreams = federation.upstream_requests()
    assert {name for name, count in upstreams.items() if count} == {f"{gateway}-gateway"}


class _AnyVersion(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(r"[0-9a-f]{16,}", other) is not None

    __hash__ = str.__hash__


ANY_VERSION = _AnyVersion("any version")


@pytest.mark.attack("A44")
@pytest.mark.parametrize("claimed", [None, "10.1.2.3", "10.1.2.3, 10.4.5.6"])
def test_both_gateways_know_the_client_by_its_own_address(federation: Federation, claimed: str | None) -> None:
    forged = {"x-waooaw-client-address": "10.9.9.9", "x-real-ip": "10.9.9.9", "forwarded": "for=10.9.9.9"}
    if claimed is not None:
        forged["x-forwarded-for"] = claimed
    status, _, body = federation.call("POST", "/api/marketing/content", body=BODY, address="127.0.0.2", headers=forged)
    assert status == 200
    asked = [one.attributes.request.http.headers for one in federation.authz.asked]
    assert [headers["x-waooaw-client-address"] for headers in asked] == ["127.0.0.2", "127.0.0.2"]
    assert [headers["x-forwarded-for"] for headers in asked] == ["127.0.0.2", "127.0.0.2"]
    assert seen(body)["headers"]["x-forwarded-for"] == "127.0.0.2"
    assert not {"x-real-ip", "forwarded"} & seen(body)["headers"].keys()


@pytest.mark.attack("A37")
@pytest.mark.requirement("R26")
def test_an_identity_that_a_client_claims_reaches_nobody(federation: Federation) -> None:
    forged = {
        "x-waooaw-subject": "eve",
        "x-user-id": "eve",
        "x-auth-user": "eve",
        "x-consumer-username": "eve",
        "x-tenant-id": "eve",
        "x-scopes": "*",
        "x-tier": "enterprise",
        "x-original-url": "/api/platform/admin",
        "x-rewrite-url": "/api/platform/admin",
        "x-http-method-override": "DELETE",
        "x-forwarded-host": "evil.test",
        "x-forwarded-client-cert": "By=evil",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/x",
        "x-request-id": "chosen-by-eve",
    }
    status, headers, body = federation.call("POST", "/api/marketing/content", body=BODY, headers=forged)
    assert status == 200
    (first, second) = [one.attributes.request.http.headers for one in federation.authz.asked]
    for headers_seen in (first, second, seen(body)["headers"]):
        assert not (forged.keys() - {"x-request-id"}) & headers_seen.keys()
        assert headers_seen["x-request-id"] == headers["x-request-id"] != "chosen-by-eve"
    assert str(uuid.UUID(headers["x-request-id"])) == headers["x-request-id"]


def test_a_request_counts_under_every_limit_of_its_route(federation: Federation) -> None:
    federation.authz.decide = lambda request: allowed(tier="business", caller="tenant:acme")
    federation.call("GET", "/api/marketing/content", address="127.0.0.2")
    assert [(one.domain, _entries(one)) for one in federation.ratelimit.asked] == [
        (
            "central",
            [[("limit", "subject"), ("tier", "business"), ("caller", "tenant:acme")], [("limit", "fleet")]],
        ),
        (
            "marketing",
            [
                [("limit", "requests"), ("tier", "business"), ("caller", "tenant:acme")],
                [("limit", "day"), ("tier", "business"), ("caller", "tenant:acme")],
            ],
        ),
    ]


def _entries(request: Any) -> list[list[tuple[str, str]]]:
    return [[(entry.key, entry.value) for entry in one.entries] for one in request.descriptors]


@pytest.mark.attack("A71")
def test_a_caller_of_whom_authz_says_nothing_is_unknown_and_not_unlimited(federation: Federation) -> None:
    federation.authz.decide = lambda request: allowed()
    federation.call("GET", "/api/marketing/content")
    assert _entries(federation.ratelimit.asked[0])[0] == [
        ("limit", "subject"),
        ("tier", "unknown"),
        ("caller", "unknown"),
    ]


def test_a_public_route_counts_by_address_in_place_of_the_defaults(federation: Federation) -> None:
    federation.call("GET", "/api/platform/health", address="127.0.0.3")
    assert [_entries(one) for one in federation.ratelimit.asked] == [
        [[("limit", "address"), ("address", "127.0.0.3")], [("limit", "fleet")]]
    ]
    assert federation.authz.asked[0].attributes.context_extensions["route"] == "platform-health"


@pytest.mark.attack("A52")
def test_authz_sees_a_body_only_where_one_is_checked_and_then_all_of_it_as_bytes(federation: Federation) -> None:
    body = b"\xff\x00" * 500
    assert federation.call("POST", "/api/marketing/content", body=body)[0] == 200
    central, marketing = [one.attributes.request.http for one in federation.authz.asked]
    # Envoy has no word for nothing of a body that has arrived.
    assert (central.body, central.raw_body) == ("", body[:1])
    assert (marketing.body, marketing.raw_body) == ("", body)


def test_a_body_may_be_as_long_as_the_policy_says_and_no_longer(federation: Federation) -> None:
    most = 65_536
    status, _, answer = federation.call("POST", "/api/marketing/content", body=b"x" * most)
    assert status == 200
    assert seen(answer)["length"] == most
    assert len(federation.authz.asked[1].attributes.request.http.raw_body) == most
    federation.authz.asked.clear()
    refused = federation.call("POST", "/api/marketing/content", body=b"x" * 2 * most)
    assert refused[0] == 413
    assert problem(*refused)["code"] == "body_too_large"
    assert not federation.authz.asked
    assert federation.service.hits == 1


@pytest.mark.parametrize("path", ["/api/auth/refresh", "/api/platform/admin", "/api/marketing/content"])
def test_a_body_that_is_too_long_asks_nobody_even_where_nothing_checks_it(federation: Federation, path: str) -> None:
    refused = federation.call("POST", path, body=b"x" * 200_000)
    assert refused[0] == 413
    assert problem(*refused)["code"] == "body_too_large"
    assert refused[1]["strict-transport-security"]
    assert not federation.authz.asked
    assert not any(federation.upstream_requests().values())


def test_a_route_that_takes_more_than_the_others_takes_no_more_than_it_says(federation: Federation) -> None:
    refused = federation.call(
        "POST", "/api/agents/orchestration", port=federation.internal, body=b"x" * (1_048_576 + 100_000)
    )
    assert refused[0] == 413
    assert problem(*refused)["code"] == "body_too_large"
    assert not federation.authz.asked
    assert federation.service.hits == 0


def test_authz_is_asked_when_the_body_has_arrived_even_where_it_is_not_shown(federation: Federation) -> None:
    chunks = iter([BODY[:4], BODY[4:]])
    status, _, answer = federation.call("POST", "/api/marketing/content", body=chunks)
    assert status == 200
    # Nobody could know the length ahead of the last chunk.
    central = federation.authz.asked[0].attributes.request.http
    assert central.headers["content-length"] == str(len(BODY))
    assert "transfer-encoding" not in central.headers
    assert seen(answer)["length"] == len(BODY)


@pytest.mark.attack("A48", "A49")
def test_a_body_whose_last_frame_is_over_the_bound_is_not_passed_off_as_whole(federation: Federation) -> None:
    status = federation.call("POST", "/api/marketing/content", body=b"x" * 65_537)[0]
    told = [one.attributes.request.http for one in federation.authz.asked if one.attributes.request.http.raw_body]
    assert status == 413 or [
        (len(http.raw_body), http.size, http.headers["x-envoy-auth-partial-body"]) for http in told
    ] == [(65_536, 65_537, "true")]


def test_a_megabyte_is_checked_where_the_policy_admits_it(federation: Federation) -> None:
    body = b"x" * 1_048_576
    assert federation.call("POST", "/api/agents/orchestration", port=federation.internal, body=body)[0] == 200
    assert federation.authz.asked[0].attributes.request.http.raw_body == body


def test_what_authz_says_reaches_the_client_as_it_is(federation: Federation) -> None:
    federation.authz.decide = lambda request: denied(
        401, '{"code": "token_missing"}', content_type="application/problem+json", www_authenticate="Bearer"
    )
    status, headers, body = federation.call("GET", "/api/marketing/content")
    assert (status, body) == (401, b'{"code": "token_missing"}')
    assert headers["content-type"] == "application/problem+json"
    assert headers["www-authenticate"] == "Bearer"
    assert headers["x-request-id"]
    assert federation.service.hits == 0
    assert not federation.ratelimit.asked


def test_what_ratelimit_says_reaches_the_client_as_it_is(federation: Federation) -> None:
    federation.ratelimit.answer = rls_pb2.RateLimitResponse(
        overall_code=rls_pb2.RateLimitResponse.OVER_LIMIT,
        raw_body=b'{"code": "daily_limit_reached"}',
        response_headers_to_add=[rls_pb2.HeaderValue(key="retry-after", value="7")],
    )
    status, headers, body = federation.call("GET", "/api/marketing/content")
    assert (status, body) == (429, b'{"code": "daily_limit_reached"}')
    assert headers["content-type"] == "application/problem+json"
    assert headers["retry-after"] == "7"
    assert federation.service.hits == 0


@pytest.mark.attack("A67")
def test_nobody_passes_while_authz_fails(federation: Federation) -> None:
    def fail(request: Any) -> Any:
        raise RuntimeError("the service is broken")

    federation.authz.decide = fail
    answer = federation.call("GET", "/api/marketing/content")
    assert answer[0] == 503
    assert problem(*answer)["code"] == "authorization_unavailable"
    assert federation.service.hits == 0


@pytest.mark.attack("A72")
def test_an_answer_of_authz_that_would_smuggle_a_header_is_refused(federation: Federation) -> None:
    def smuggle(request: Any) -> Any:
        answer = allowed()
        answer.ok_response.headers.add().header.CopyFrom(
            type(answer.ok_response.headers.add().header)(key="a b", value="c")
        )
        return answer

    federation.authz.decide = smuggle
    answer = federation.call("GET", "/api/marketing/content")
    assert answer[0] >= 500
    assert federation.service.hits == 0


@pytest.mark.attack("A65")
def test_nobody_passes_while_ratelimit_fails(federation: Federation) -> None:
    federation.ratelimit.answer = None
    answer = federation.call("GET", "/api/marketing/content")
    assert answer[0] == 503
    assert problem(*answer)["code"] == "limits_unavailable"
    assert federation.service.hits == 0


def test_a_route_without_limits_does_not_take_those_of_the_others(federation: Federation) -> None:
    assert federation.call("GET", "/api/marketing/hasty")[0] == 200
    assert [one.domain for one in federation.ratelimit.asked] == ["central"]
