"""The Authorization service over gRPC: the same answers from both servers, and none by accident."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from authz.authorizer import Authorizer
from authz.decision import NonceClaim
from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStore, NonceStoreError
from authz.request import MAX_CHECK_BYTES, Request
from authz.rules import Rules
from authz.server import SERVICE, serve
from protos import ext_authz_pb2 as pb
from protos import ext_authz_pb2_grpc as pb_grpc
from rpc.server import Running, ServerKind
from tests.unit.authz.test_authorizer import Witness
from tests.unit.authz.world import AGENTS, CONTENT, NOW, facts, request, rules, signed, token

RULES = rules()
KINDS = get_args(ServerKind)


def authorizer(
    registry: CollectorRegistry | None = None,
    witness: Witness | None = None,
    rules: Rules = RULES,
    nonces: NonceStore | None = None,
) -> Authorizer:
    made = Authorizer(
        rules.gateway,
        board=FactsBoard(facts()),
        nonces=MemoryNonceStore() if nonces is None else nonces,
        audit=witness or Witness(),
        metrics=AuthzMetrics(registry or CollectorRegistry(), rules.gateway),
        clock=lambda: NOW,
    )
    made.install(rules)
    return made


def check(asked: Request) -> pb.CheckRequest:
    """What Envoy would send for a request."""
    message = pb.CheckRequest()
    http = message.attributes.request.http
    http.method, http.host, http.scheme, http.size = asked.method, asked.authority, asked.scheme, asked.size
    http.path = asked.path if asked.query is None else f"{asked.path}?{asked.query}"
    http.headers.update(asked.headers)
    http.raw_body = asked.body or b""
    context = {"gateway": asked.gateway, "policy": asked.policy, "listener": asked.listener, "route": asked.route}
    message.attributes.context_extensions.update(context)
    return message


@pytest.fixture(params=KINDS)
async def running(request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    server = await serve(authorizer(), "127.0.0.1:0", request.param)
    yield server
    await server.stop(0)


@pytest.fixture
async def channel(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as opened:
        yield opened


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> pb_grpc.AuthorizationStub:
    return pb_grpc.AuthorizationStub(channel)


def code(response: pb.CheckResponse) -> str:
    body: str = json.loads(response.denied_response.body)["code"]
    return body


@pytest.mark.requirement("R12", "R38", "U3")
async def test_a_good_request_is_allowed(stub: pb_grpc.AuthorizationStub) -> None:
    response = await stub.Check(check(request(method="POST", token=token(), json_body=CONTENT)))
    assert response.status.code == 0
    assert response.ok_response.headers[0].header.key == "x-waooaw-subject"
    assert response.dynamic_metadata["tier"] == "business"
    assert response.dynamic_metadata["caller"] == "sub:user_1"


@pytest.mark.requirement("R73", "U3")
async def test_a_bad_request_is_refused_with_its_reason(stub: pb_grpc.AuthorizationStub) -> None:
    response = await stub.Check(check(request(method="POST", token=token()[:-4] + "AAAA", json_body=CONTENT)))
    assert response.status.code != 0
    assert response.denied_response.status.code == 401
    assert code(response) == "token_invalid"


@pytest.mark.attack("A69")
@pytest.mark.parametrize("message", [pb.CheckRequest(), check(request(gateway="", policy="", route="", listener=""))])
async def test_an_empty_check_is_refused(message: pb.CheckRequest, stub: pb_grpc.AuthorizationStub) -> None:
    response = await stub.Check(message)
    assert response.denied_response.status.code == 503


async def test_many_at_once_each_get_their_own_answer(stub: pb_grpc.AuthorizationStub) -> None:
    asked = [check(request(token=token(sub=f"user_{number}"))) for number in range(20)]
    responses = await asyncio.gather(*(stub.Check(asked[number % 20]) for number in range(200)))
    subjects = [response.dynamic_metadata["subject"] for response in responses]
    assert subjects == [f"user_{number % 20}" for number in range(200)]


@pytest.mark.attack("A53")
async def test_a_check_too_large_for_the_server_is_an_error_to_envoy(stub: pb_grpc.AuthorizationStub) -> None:
    message = check(request(token=token()))
    message.attributes.request.http.raw_body = b"x" * (MAX_CHECK_BYTES + 1)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Check(message)


async def test_octets_that_are_no_check_are_an_error_to_envoy(channel: grpc.aio.Channel) -> None:
    call = channel.unary_unary(f"/{SERVICE}/Check")
    with pytest.raises(grpc.aio.AioRpcError):
        await call(b"\xff\xff\xff")


@pytest.mark.attack("A69")
async def test_another_service_is_not_served(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary("/envoy.service.auth.v2.Authorization/Check")(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_the_service_says_that_it_is_healthy(service: str, channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("version", "known"), [(RULES.version, True), ("0" * 16, False), ("", False)])
async def test_health_says_by_which_policy_versions_is_decided(
    version: str, known: bool, channel: grpc.aio.Channel
) -> None:
    asked = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=f"policy.{version}"))
    if known:
        assert (await asked).status == health_pb2.HealthCheckResponse.SERVING
        return
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.attack("A67")
@pytest.mark.parametrize("kind", KINDS)
async def test_an_exception_is_a_refusal_is_counted_and_tells_nothing(
    kind: ServerKind, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    registry, witness = CollectorRegistry(), Witness()
    broken = authorizer(registry, witness)

    def fail(*_: object) -> None:
        raise RuntimeError("Bearer secret-of-the-exception")

    monkeypatch.setattr("authz.authorizer.decide", fail)
    server = await serve(broken, "127.0.0.1:0", kind)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        response = await pb_grpc.AuthorizationStub(channel).Check(check(request(token=token())))
    await server.stop(0)
    assert response.denied_response.status.code == 503
    assert code(response) == "internal_error"
    assert "secret-of-the-exception" not in str(response)
    labels = {"gateway": "marketing", "route": "unknown", "outcome": "denied", "reason": "internal_error"}
    assert registry.get_sample_value("apibank_authz_decisions_total", labels) == 1
    assert [event.reason for event in witness.events] == ["internal_error"]
    logged = "".join(capfd.readouterr())
    assert "check_failed" in logged
    assert "secret-of-the-exception" not in logged


class SlowStore(MemoryNonceStore):
    """Spends nonces once it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        self.asked.set()
        await self.may_answer.wait()
        return await super().spend_many(claims)


@pytest.mark.attack("A67")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_check_that_envoy_gave_up_is_never_a_success(kind: ServerKind) -> None:
    nonces, witness = SlowStore(), Witness()
    slow = authorizer(witness=witness, rules=AGENTS, nonces=nonces)
    server = await serve(slow, "127.0.0.1:0", kind)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = pb_grpc.AuthorizationStub(channel)
        # What comes after it on this connection shows that its end has come too.
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Check(check(signed()), timeout=0.2)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await nonces.asked.wait()
            refused = await stub.Check(check(replace(signed(), route="nonsense")))
        assert code(refused) == "route_unknown"
        nonces.may_answer.set()
        async with asyncio.timeout(5):
            while len(witness.events) < 2:
                await asyncio.sleep(0.01)
    await server.stop(0)
    outcomes = {(event.route, event.outcome, event.reason, event.cause) for event in witness.events}
    assert outcomes == {
        ("vision", "denied", "internal_error", "given up by whoever asked"),
        ("nonsense", "denied", "route_unknown", ""),
    }


@pytest.mark.parametrize("kind", KINDS)
async def test_a_unix_socket_is_served(kind: ServerKind, tmp_path: Path) -> None:
    listen = f"unix:{tmp_path / 'authz.sock'}"
    server = await serve(authorizer(), listen, kind)
    async with grpc.aio.insecure_channel(listen) as channel:
        response = await pb_grpc.AuthorizationStub(channel).Check(check(request(token=token())))
    await server.stop(0)
    assert server.port == 0
    assert response.status.code == 0


@pytest.mark.attack("A69")
@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", ":0", "localhost.evil:0"])
@pytest.mark.parametrize("kind", KINDS)
async def test_without_tls_the_service_is_not_offered_to_the_network(listen: str, kind: ServerKind) -> None:
    with pytest.raises(ValueError, match="TLS"):
        await serve(authorizer(), listen, kind)


async def test_with_tls_it_is_served_by_grpcio_to_those_with_a_certificate() -> None:
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    pem = certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes()
    root = authority.cert_pem.bytes()
    credentials = grpc.ssl_server_credentials([pem], root, require_client_auth=True)
    with pytest.raises(ValueError, match="grpcio"):
        await serve(authorizer(), "127.0.0.1:0", "native", credentials)
    server = await serve(authorizer(), "127.0.0.1:0", "grpcio", credentials)
    address = f"127.0.0.1:{server.port}"
    asked = check(request(token=token()))
    known = grpc.ssl_channel_credentials(root, *pem)
    async with grpc.aio.secure_channel(address, known) as channel:
        assert (await pb_grpc.AuthorizationStub(channel).Check(asked)).status.code == 0
    stranger = grpc.ssl_channel_credentials(root)
    async with grpc.aio.secure_channel(address, stranger) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await pb_grpc.AuthorizationStub(channel).Check(asked, timeout=3)
    await server.stop(0)


@pytest.mark.requirement("R60", "R79")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_signed_request_passes_one_of_two_replicas_once(kind: ServerKind) -> None:
    nonces = MemoryNonceStore()
    servers = []
    for _ in range(2):
        replica = authorizer(rules=AGENTS, nonces=nonces)
        servers.append(await serve(replica, "127.0.0.1:0", kind))
    message = check(signed())
    responses = []
    for server in servers:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            responses.append(await pb_grpc.AuthorizationStub(channel).Check(message))
        await server.stop(0)
    assert responses[0].status.code == 0
    assert code(responses[1]) == "signature_replayed"
