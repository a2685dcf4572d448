"""What fails, denies: services that hang, a store that is gone, checks that no Envoy sent, the way around them."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from protos import ext_authz_pb2 as pb
from protos import ext_authz_pb2_grpc as pb_grpc
from tests.support.client import CONTENT, Client, problem
from tests.support.evidence import Evidence
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from waooaw_signing import sign

PATHS = {"marketing": "/api/marketing/content", "education": "/api/education/math", "sales": "/api/sales/leads"}


@contextlib.contextmanager
def paused(stack: Stack, name: str) -> Iterator[None]:
    """A process of the stack that neither answers nor ends."""
    pid = stack.ready.pids[name]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until_it_serves(client: Client, path: str, token: str) -> None:
    deadline = time.monotonic() + 20
    while client.call("GET", path, token=token).status_code != 200:
        assert time.monotonic() < deadline, f"{path} is not served again"
        time.sleep(0.05)


@pytest.mark.attack("A67")
@pytest.mark.requirement("R4")
@pytest.mark.parametrize("gateway", PATHS)
def test_a_gateway_whose_services_hang_lets_nobody_pass_and_others_serve(
    gateway: str, stack: Stack, client: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of(gateway, fresh)
    other = next(name for name in PATHS if name != gateway)
    try:
        with paused(stack, f"gateway-{gateway}"), evidence.attempt(token) as attempt:
            for _ in range(3):
                answer = client.call("GET", PATHS[gateway], token=token)
                assert (answer.status_code, problem(answer)["code"]) == (503, "authorization_unavailable")
            attempt.reached_nobody()
            assert client.call("GET", PATHS[other], token=tokens.of(other, fresh)).status_code == 200
    finally:
        until_it_serves(client, PATHS[gateway], token)


@pytest.mark.attack("A67")
@pytest.mark.requirement("R4")
def test_nobody_passes_a_central_whose_services_hang(
    stack: Stack, client: Client, internal: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh)
    try:
        with paused(stack, "gateway-central"), evidence.attempt(token) as attempt:
            for one, path, sent in (
                (client, PATHS["marketing"], token),
                (internal, "/api/platform/admin/logs", tokens.admin(fresh)),
                (client, PATHS["sales"], None),
            ):
                assert one.call("GET", path, token=sent).status_code in {403, 503, 504}
            attempt.reached_nobody()
    finally:
        until_it_serves(client, PATHS["marketing"], token)


@pytest.mark.attack("A24", "A65")
@pytest.mark.requirement("R60", "R104")
def test_without_the_store_no_signature_and_nothing_that_is_limited_passes(
    stack: Stack, client: Client, internal: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh)
    body = json.dumps({"id": "m", "type": "t", "sender": "vision", "recipient": "memory", "payload": {}}).encode()
    secret = (stack.state_dir / "secrets" / "agents" / "vision").read_text(encoding="utf-8").split()[0]
    headers = sign("POST", stack.ready.central.internal_https + "/api/agents/memory", body, "vision", secret)
    try:
        with paused(stack, "valkey"), evidence.attempt(token, headers["signature"]) as attempt:
            sent = {"content-type": "application/json", **headers}
            signed = internal.call("POST", "/api/agents/memory", content=body, headers=sent, door="internal_https")
            assert (signed.status_code, problem(signed)["code"]) == (503, "nonce_store_unavailable")
            limited = client.call("POST", PATHS["marketing"], token=token, json=CONTENT)
            assert limited.status_code == 503
            problem(limited)
            attempt.reached_nobody()
    finally:
        until_it_serves(client, PATHS["marketing"], token)


Context = dict[str, str]
CHECKS: dict[str, tuple[Context, str]] = {
    "A68 an unknown route": ({"route": "nothing"}, "route_unknown"),
    "A68 no route": ({"route": ""}, "route_unknown"),
    "A68 another gateway's route": ({"route": "admin"}, "route_unknown"),
    "A68 a route for another path": ({"route": "social"}, "route_mismatch"),
    "A68 an unknown policy": ({"policy": "0000000000000000"}, "policy_unknown"),
    "A68 no policy": ({"policy": ""}, "policy_unknown"),
    "A68 another gateway": ({"gateway": "platform"}, "gateway_unknown"),
    "A68 no gateway": ({"gateway": ""}, "gateway_unknown"),
    "A68 an unknown listener": ({"listener": "nothing"}, "listener_unknown"),
}


@pytest.fixture
def target(
    stack: Stack, client: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> Iterator[tuple[Any, pb.CheckRequest]]:
    """Marketing's authorization, and a check as its Envoy sends one."""
    token = tokens.of("marketing", fresh)
    with evidence.attempt(token) as attempt:
        echo = attempt.let_pass(client.call("GET", PATHS["marketing"], token=token), "marketing")
        deadline = time.monotonic() + 10
        found: list[dict[str, Any]] = []
        while not found and time.monotonic() < deadline:
            found = [
                one for one in attempt.decisions()
                if one["gateway"] == "marketing" and one["request_id"] == echo["headers"]["x-request-id"]
            ]  # fmt: skip
    check = pb.CheckRequest()
    http = check.attributes.request.http
    http.method, http.path, http.host, http.scheme = "GET", PATHS["marketing"], "127.0.0.1", "https"
    http.headers.update({"authorization": f"Bearer {token}", "x-waooaw-client-address": "127.0.0.1"})
    event = found[0]
    check.attributes.context_extensions.update(
        {name: event[name] for name in ("gateway", "policy", "listener", "route")}
    )
    with grpc.insecure_channel(stack.ready.gateways["marketing"].authz) as channel:
        yield pb_grpc.AuthorizationStub(channel), check


@pytest.mark.attack("A68", "A69")
@pytest.mark.parametrize("case", CHECKS)
def test_a_check_that_no_policy_fits_is_denied(case: str, target: tuple[Any, pb.CheckRequest]) -> None:
    stub, check = target
    assert stub.Check(check, timeout=5).status.code == 0
    changes, code = CHECKS[case]
    check.attributes.context_extensions.update(changes)
    answer = stub.Check(check, timeout=5)
    assert answer.status.code != 0
    assert answer.denied_response.status.code == 503
    assert json.loads(answer.denied_response.body)["code"] == code
    assert not answer.HasField("ok_response")


@pytest.mark.attack("A69")
@pytest.mark.parametrize("emptied", ["all", "attributes", "request", "context", "path", "method"])
def test_a_check_that_says_nothing_is_denied(emptied: str, target: tuple[Any, pb.CheckRequest]) -> None:
    stub, check = target
    match emptied:
        case "all":
            check = pb.CheckRequest()
        case "attributes":
            check.ClearField("attributes")
        case "request":
            check.attributes.ClearField("request")
        case "context":
            check.attributes.ClearField("context_extensions")
        case name:
            check.attributes.request.http.ClearField(name)
    answer = stub.Check(check, timeout=5)
    assert answer.status.code != 0
    assert json.loads(answer.denied_response.body)["code"] in {"check_empty", "gateway_unknown"}


@pytest.mark.attack("A69")
@pytest.mark.parametrize(
    "method", ["/envoy.service.auth.v2.Authorization/Check", "/envoy.service.auth.v3.Authorization/Allow", "/x.Y/Z"]
)
def test_authorization_is_one_service_with_one_method(method: str, stack: Stack) -> None:
    with grpc.insecure_channel(stack.ready.gateways["marketing"].authz) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(method)(b"", timeout=5)
        assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]


def found(tree: Any, name: str) -> Iterator[Any]:
    """Every value under this name, however deep."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == name:
                yield value
            yield from found(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from found(value, name)


@pytest.mark.attack("A70", "A71", "A72")
@pytest.mark.parametrize("gateway", ["central", "platform", "marketing", "education", "sales", "agents"])
def test_no_envoy_runs_with_a_way_around_authorization(gateway: str, stack: Stack, evidence: Evidence) -> None:
    place = stack.ready.central if gateway == "central" else stack.ready.gateways[gateway]
    dump = evidence.http.get(f"{place.envoy_admin}/config_dump?include_eds").json()
    dump["configs"] = [one for one in dump["configs"] if "BootstrapConfigDump" not in one["@type"]]
    filters = [one for one in found(dump, "typed_config") if str(one.get("@type", "")).endswith("ExtAuthz")]
    assert filters
    for one in filters:
        assert not one.get("failure_mode_allow", False)
        assert not one.get("clear_route_cache", False)
        assert one["validate_mutations"] is True
        assert one["status_on_error"]["code"] == "ServiceUnavailable"
        body = one.get("with_request_body", {})
        assert body.get("pack_as_bytes", True)
        assert not body.get("allow_partial_message", False) or body["max_request_bytes"] < 4 * 1024 * 1024
    for route in (each for routes in found(dump, "routes") if isinstance(routes, list) for each in routes):
        for settings in found(route.get("typed_per_filter_config", {}), "envoy.filters.http.ext_authz"):
            if settings.get("disabled"):
                # Envoy answers by itself, and nobody is behind it.
                assert "route" not in route, route
    # Descriptors take the tier from what authorization said.
    for headers in found(dump, "request_headers"):
        assert "tier" not in json.dumps(headers)
