"""What is read from Envoy's checks, and what is written for Envoy and for the client."""

import json

import pytest

from authz.answers import Answers
from authz.decision import Decision, FieldError, Refusal
from authz.denied import write_failure
from authz.pipeline import decide
from authz.principal import NOBODY
from authz.reasons import Reason
from authz.request import Request
from authz.wire import UnreadableCheckError, read_check, read_request
from policy.descriptors import IDENTITY_HEADERS, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from protos import ext_authz_pb2 as pb
from tests.unit.authz.world import AGENTS, API_KEY, NOW, facts, partner_key, request, rules, signed, token

RULES = rules()


def check(path: str = "/api/marketing/content", **fields: object) -> pb.CheckRequest:
    message = pb.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path, http.host, http.scheme = "GET", path, "api.example.com", "https"
    context = {"gateway": "marketing", "policy": RULES.version, "listener": "mesh", "route": "content"}
    message.attributes.context_extensions.update(context)
    for name, value in fields.items():
        setattr(http, name, value)
    return message


def test_a_check_becomes_a_request() -> None:
    message = check("/api/marketing/content?a=1?b", raw_body=b"\xff", size=1)
    message.attributes.request.http.headers["x-a"] = "1"
    asked = read_request(message)
    assert (asked.gateway, asked.policy, asked.listener, asked.route) == (
        "marketing",
        RULES.version,
        "mesh",
        "content",
    )
    assert (asked.method, asked.scheme, asked.authority) == ("GET", "https", "api.example.com")
    assert (asked.path, asked.query) == ("/api/marketing/content", "a=1?b")
    assert (asked.headers, asked.body, asked.size, asked.exact) == ({"x-a": "1"}, b"\xff", 1, False)
    assert asked.defect is None


@pytest.mark.attack("A32")
@pytest.mark.parametrize(("path", "query"), [("/a", None), ("/a?", ""), ("/a??b", "?b"), ("/a%3Fb", None)])
def test_the_query_starts_at_the_first_question_mark(path: str, query: str | None) -> None:
    asked = read_request(check(path))
    assert asked.path == path.split("?", 1)[0]
    assert asked.query == query


def test_a_body_that_came_as_text_is_not_believed() -> None:
    assert read_request(check(body="{}")).body is None


def test_octets_that_are_no_check_are_not_read() -> None:
    assert read_check(check().SerializeToString()) == read_request(check())
    with pytest.raises(UnreadableCheckError):
        read_check(b"\xff\xff\xff")


def _emptied() -> list[pb.CheckRequest]:
    bare = pb.CheckRequest()
    no_method, no_path, no_context = check(method=""), check(path=""), check()
    no_context.attributes.context_extensions.clear()
    return [bare, no_method, no_path, no_context]


@pytest.mark.parametrize("message", _emptied())
def test_an_empty_check_is_a_defect(message: pb.CheckRequest) -> None:
    asked = read_request(message)
    assert asked.defect is Reason.CHECK_EMPTY
    found = decide(asked, RULES, facts(), NOW)
    assert found.refusal is not None
    assert found.refusal.status == 503


def raw(*lines: tuple[str, bytes]) -> pb.CheckRequest:
    message = check()
    for name, value in lines:
        message.attributes.request.http.header_map.headers.add(key=name, raw_value=value)
    return message


def test_raw_headers_are_exact_and_repeated_ones_are_joined() -> None:
    asked = read_request(raw(("x-a", b"1"), ("x-a", b"2"), ("x-b", "é".encode())))
    assert asked.headers == {"x-a": "1, 2", "x-b": "é"}
    assert asked.exact
    assert asked.defect is None


@pytest.mark.attack("A39")
@pytest.mark.parametrize(
    "lines",
    [
        [("x-a", b"\xff")],
        [("authorization", b"Bearer a"), ("authorization", b"Bearer b")],
        [("x-api-key", b"a"), ("x-api-key", b"a")],
        [("signature", b"a"), ("signature", b"b")],
        [("content-type", b"application/json"), ("content-type", b"application/json")],
        [("x-waooaw-client-address", b"10.0.0.1"), ("x-waooaw-client-address", b"192.0.2.1")],
        [(":path", b"/api/platform/admin")],
    ],
)
def test_raw_headers_that_say_two_things_or_cannot_be_read_are_a_defect(lines: list[tuple[str, bytes]]) -> None:
    assert read_request(raw(*lines)).defect is Reason.HEADER_INVALID


def written(decision: Decision, asked: Request, answers: Answers | None = None) -> pb.CheckResponse:
    return pb.CheckResponse.FromString((answers or Answers()).write(decision, asked))


def answer_to(
    text: str | None = None, *, route: str = "content", headers: dict[str, str] | None = None, key: str | None = None
) -> pb.CheckResponse:
    asked = request(route, token=text, headers=headers or {}, key=key)
    return written(decide(asked, RULES, facts(), NOW), asked)


def set_by(response: pb.CheckResponse) -> dict[str, str]:
    return {each.header.key: each.header.value for each in response.ok_response.headers}


def metadata(response: pb.CheckResponse) -> dict[str, str]:
    return {name: value.string_value for name, value in response.dynamic_metadata.fields.items()}


@pytest.mark.requirement("R67")
def test_an_allowed_request_tells_the_service_who_it_is() -> None:
    response = answer_to(token(tenant_id="acme", scopes=["marketing:write", "marketing:read"]))
    assert response.status.code == 0
    assert set_by(response) == {
        "x-waooaw-subject": "user_1",
        "x-waooaw-tenant": "acme",
        "x-waooaw-role": "customer",
        "x-waooaw-tier": "business",
        "x-waooaw-scopes": "marketing:read marketing:write",
    }
    assert metadata(response) == {
        "tier": "business",
        "caller": "tenant:acme",
        "subject": "user_1",
        "tenant": "acme",
        "role": "customer",
        "gateway": "marketing",
        "route": "content",
        "outcome": "allowed",
    }


def test_a_partner_and_an_agent_are_named_too() -> None:
    assert set_by(answer_to(key=API_KEY))["x-waooaw-partner"] == "acme"
    asked = signed()
    response = written(decide(asked, AGENTS, facts(), NOW), asked)
    assert set_by(response)["x-waooaw-agent"] == "content"
    assert metadata(response)["caller"] == "agent:content"


@pytest.mark.requirement("R117")
@pytest.mark.attack("A71")
def test_which_key_it_was_is_told_by_its_public_id_and_never_by_its_text() -> None:
    asked = request("plain", key=API_KEY, method="POST")
    allowed, refused = answer_to(key=API_KEY), written(decide(asked, RULES, facts(), NOW), asked)
    assert (metadata(allowed)["outcome"], metadata(refused)["outcome"]) == ("allowed", "denied")
    for response in (allowed, refused):
        assert metadata(response)["credential"] == partner_key().key_id
        assert API_KEY.encode() not in response.SerializeToString()
    # What names a token is for the audit alone.
    assert "credential" not in metadata(answer_to(token(jti="t-1")))


def test_credentials_and_identities_that_were_not_established_are_removed() -> None:
    response = answer_to(token())
    removed = set(response.ok_response.headers_to_remove)
    assert {"authorization", "x-api-key", "cookie", "signature", "signature-input"} <= removed
    assert {"x-waooaw-tenant", "x-waooaw-agent", "x-waooaw-partner"} <= removed
    # Envoy removes after it has set.
    assert not removed & set(set_by(response))


def test_a_gateway_that_passes_credentials_on_removes_none() -> None:
    known = rules(credentials="forward")
    asked = request(token=token(), rules=known)
    response = written(decide(asked, known, facts(), NOW), asked)
    assert not {"authorization", "x-api-key", "cookie"} & set(response.ok_response.headers_to_remove)


CLAIMS = ("x-user-id", "x-auth-request-email", "x-consumer-username", "x-waooaw-new", *SPOOFABLE_HEADERS)
CLAIMS += ("x-jwt-claim-sub", "x-ms-client-principal-id", "x-ms-client-principal", "x-goog-authenticated-user-email")
CLAIMS += ("x-amzn-oidc-identity", *(f"{prefix}x" for prefix in SPOOFABLE_PREFIXES))
SPOOFED = dict.fromkeys(CLAIMS, "admin")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "x-authorization",
            "x-access-token",
            "x-id-token",
            "x-forwarded-access-token",
            "x-user",
            "x-username",
            "x-uid",
        ),
        *("x-tenantid", "x-principal", "x-permissions", "x-webauth-user", "cf-access-jwt-assertion", "client-ip"),
        *("ssl-client-cert", "x-original-forwarded-for", "x-jwt-assertion", "x-ms-client-principal-name"),
    ],
)
def test_a_name_under_which_services_look_for_an_identity_is_a_claim(name: str) -> None:
    assert name in answer_to(token(), headers={name: "admin"}).ok_response.headers_to_remove


@pytest.mark.parametrize("names", [SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES], ids=["headers", "prefixes"])
def test_the_names_are_in_order_and_each_is_there_once(names: tuple[str, ...]) -> None:
    assert list(names) == sorted({name.lower() for name in names})


@pytest.mark.attack("A37")
@pytest.mark.parametrize("route", ["content", "docs"])
def test_what_a_client_claims_to_be_is_removed_on_every_route(route: str) -> None:
    response = answer_to(token(), route=route, headers={**SPOOFED, "x-waooaw-subject": "admin"})
    removed = set(response.ok_response.headers_to_remove)
    assert set(SPOOFED) <= removed
    assert "x-waooaw-client-address" not in removed
    if route == "docs":
        assert set(IDENTITY_HEADERS) <= removed
        assert metadata(response)["caller"] == "anonymous"
        assert "tier" not in metadata(response)
    else:
        assert set_by(response)["x-waooaw-subject"] == "user_1"


def test_the_same_caller_is_answered_with_the_same_message_and_another_with_another() -> None:
    answers = Answers()
    one, other = request(token=token()), request(token=token(sub="user_2"))
    known = {id(asked): decide(asked, RULES, facts(), NOW) for asked in (one, other)}
    first = answers.write(known[id(one)], one)
    assert answers.write(decide(one, RULES, facts(), NOW), one) is first
    assert set_by(written(known[id(other)], other, answers))["x-waooaw-subject"] == "user_2"
    spoofing = request(token=token(), headers={"x-user-id": "7"})
    for _ in range(2):
        spoofed = written(decide(spoofing, RULES, facts(), NOW), spoofing, answers)
        assert "x-user-id" in spoofed.ok_response.headers_to_remove
    assert "x-user-id" not in written(known[id(one)], one, answers).ok_response.headers_to_remove


def test_an_answer_that_is_large_is_not_kept() -> None:
    answers = Answers()
    many = request(token=token(scopes=["marketing:read", *(f"marketing:{n}{'x' * 80}" for n in range(30))]))
    decision = decide(many, RULES, facts(), NOW)
    assert decision.allowed
    assert len(answers.write(decision, many)) > 2048
    assert len(answers._allowed) == 0


def test_names_without_end_neither_hide_a_claim_nor_fill_the_memory() -> None:
    answers, decision = Answers(), decide(request(token=token()), RULES, facts(), NOW)
    for number in range(200):
        headers = {f"x-{number}-{each}": "1" for each in range(50)} | {"x-user-id": "7", "y" * 10_000: "1"}
        found = written(decision, request(token=token(), headers=headers), answers)
        assert "x-user-id" in found.ok_response.headers_to_remove
    assert len(answers._harmless) <= 4096
    assert max(map(len, answers._harmless)) <= 64


def denied(
    refusal: Refusal, request_id: str = "r-1", route: str = "content"
) -> tuple[pb.CheckResponse, dict[str, str]]:
    decision = Decision(refusal, NOBODY, RULES.routes[route])
    asked = request(headers={"x-request-id": request_id})
    response = written(decision, asked)
    return response, {each.header.key: each.header.value for each in response.denied_response.headers}


def test_a_refusal_is_a_problem_that_names_its_reason_and_request() -> None:
    response, headers = denied(Refusal(Reason.BODY_INVALID, errors=(FieldError("/length", "maximum"),)))
    assert response.status.code != 0
    assert response.denied_response.status.code == 400
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(response.denied_response.body) == {
        "type": "https://waooaw.ai/problems/body_invalid",
        "title": "Body invalid",
        "status": 400,
        "detail": "The body does not meet the schema of this endpoint.",
        "code": "body_invalid",
        "request_id": "r-1",
        "errors": [{"pointer": "/length", "rule": "maximum"}],
    }
    assert metadata(response)["outcome"] == "denied"
    assert metadata(response)["reason"] == "body_invalid"


@pytest.mark.parametrize("reason", list(Reason))
def test_every_refusal_denies(reason: Reason) -> None:
    response, _ = denied(Refusal(reason, cause="an inner matter"))
    assert response.status.code != 0
    assert response.WhichOneof("http_response") == "denied_response"
    assert response.denied_response.status.code == Refusal(reason).status
    assert "inner matter" not in str(response)


@pytest.mark.requirement("R92")
@pytest.mark.parametrize(
    ("refusal", "challenge"),
    [
        (Refusal(Reason.TOKEN_MISSING), 'Bearer realm="marketing", ApiKey realm="marketing"'),
        (
            Refusal(Reason.TOKEN_INVALID),
            'Bearer realm="marketing", error="invalid_token", error_description="The access token is not valid"',
        ),
        (
            Refusal(Reason.TOKEN_EXPIRED),
            'Bearer realm="marketing", error="invalid_token", error_description="The access token expired"',
        ),
        (Refusal(Reason.KEY_INVALID), 'ApiKey realm="marketing"'),
        (Refusal(Reason.SIGNATURE_INVALID), 'Signature realm="marketing"'),
        (Refusal(Reason.TIER_UNKNOWN), None),
        (Refusal(Reason.INSUFFICIENT_SCOPE), None),
        (Refusal(Reason.INTERNAL_ERROR), None),
    ],
)
def test_a_401_says_how_to_authenticate(refusal: Refusal, challenge: str | None) -> None:
    assert denied(refusal)[1].get("www-authenticate") == challenge


def test_a_missing_scope_is_named_to_the_holder_of_a_token() -> None:
    response = answer_to(token(scopes=[]))
    headers = {each.header.key: each.header.value for each in response.denied_response.headers}
    assert response.denied_response.status.code == 403
    assert headers["www-authenticate"] == (
        'Bearer realm="marketing", error="insufficient_scope", scope="marketing:read"'
    )


def test_a_405_names_the_methods_that_are_served() -> None:
    assert denied(Refusal(Reason.METHOD_NOT_ALLOWED, allow="GET, POST"))[1]["allow"] == "GET, POST"


def test_a_signer_is_told_what_to_sign() -> None:
    assert denied(Refusal(Reason.SIGNATURE_MISSING))[1]["accept-signature"] == (
        'sig1=("@method" "@authority" "@path" "@query" "content-digest")'
        ';created;nonce;keyid;alg="hmac-sha256";tag="waooaw-agent"'
    )


@pytest.mark.parametrize("request_id", ['"}', "a\r\nset-cookie: x", "é", "x" * 65, "<script>"])
def test_a_request_id_that_is_none_is_not_repeated(request_id: str) -> None:
    response, headers = denied(Refusal(Reason.TOKEN_MISSING), request_id)
    assert json.loads(response.denied_response.body)["request_id"] == ""
    assert request_id not in str(headers)


def test_an_answer_that_fails_is_a_refusal() -> None:
    response = pb.CheckResponse.FromString(write_failure("r-1"))
    assert response.denied_response.status.code == 503
    assert json.loads(response.denied_response.body)["code"] == "internal_error"
    impossible = written(Decision(None, NOBODY), request())
    assert impossible.status.code != 0
    assert impossible.denied_response.status.code == 503
