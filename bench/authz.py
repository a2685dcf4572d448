"""What a decision of authorization costs: `python -m bench.authz`.

First without the wire, in microseconds of CPU (the least of many short runs). Then over gRPC: each server runs in a
process of its own under the real policies of marketing and agents, and is asked with as many calls under way as it
can take, with checks of about 1.2 KB. `refused` shows tokens whose signature is wrong; `constant` answers without
thinking: what gRPC itself costs on that server. Client and server share the machine's cores, so the server's CPU time
per decision says more than decisions per second, and 1 s / CPU is what one core of its own would do.
"""

import argparse
import asyncio
import hashlib
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, get_args

import grpc
import jwt
import psutil
import pygrpc_native.aio
import uvloop
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from authz.answers import Answers
from authz.audit import JsonLinesSink
from authz.authorizer import Authorizer
from authz.decision import NonceClaim
from authz.facts import AgentSecrets, Facts, FactsBoard, PartnerKey, PartnerKeys
from authz.identity import base64url
from authz.identity.jwt import VerifiedToken, verify_token
from authz.identity.keys import KeySet, read_keys
from authz.identity.verified_tokens import VerifiedTokens
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStoreError
from authz.pipeline import decide
from authz.rules import Rules, compile_rules
from authz.server import SERVICE, ServerKind, serve
from authz.wire import read_request
from bench.hostile_checks import hostile, microseconds
from bench.http2_load import Client
from policy.access import Algorithm
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from protos import ext_authz_pb2 as pb
from waooaw_signing import sign

NOW: Final = 1_800_000_000.0
API_KEY: Final = "waw_live_sk_" + "b" * 20
SECRET: Final = b"the secret of the agent of these figures"
CALLERS, MESSAGES = 200, 400
CONNECTIONS, UNDER_WAY = 2, 32
CONTENT: Final = {"topic": "AI agents", "tone": "casual", "length": 500, "keywords": ["AI", "automation"]}
MESSAGE: Final = {"id": "m-1", "type": "task.created", "sender": "vision", "recipient": "memory", "payload": {"n": 1}}
PROCESSES = multiprocessing.get_context("fork")
CONSTANT: Final = pb.CheckResponse(ok_response=pb.OkHttpResponse()).SerializeToString()
_POLICIES: Final = Path(__file__).parents[1] / "envoy" / "gateways"
_DIGITS = rsa.generate_private_key(65537, 2048)


class EveryNonce(MemoryNonceStore):
    """Spends nonces as always, but lets the few signatures of a run pass again and again."""

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        await super().spend_many(claims)
        return [True] * len(claims)


@cache
def rules(gateway: str, remembers: bool = True) -> Rules:
    path = _POLICIES / f"{gateway}.yaml"
    policy = load_gateway(Gateway, Source(path.name, path.read_text())).gateway
    return compile_rules(policy, VerifiedTokens() if remembers else VerifiedTokens(ttl=0))


@cache
def facts() -> Facts:
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_DIGITS.public_key()))
    keys, _ = read_keys([{**jwk, "kid": "k1"}], Algorithm.RS256)
    scopes = frozenset({"partner:acme:marketing:*"})
    partner = PartnerKey("acme", scopes, "business", NOW + 1000, "key-1")
    return Facts(
        key_sets={"customer": KeySet(keys)},
        partner_keys=PartnerKeys({hashlib.sha256(API_KEY.encode()).digest(): partner}),
        agent_secrets=AgentSecrets({"vision": (SECRET,)}),
    )


def token(caller: int) -> str:
    claims = {
        "iss": "https://auth.waooaw.ai",
        "aud": "https://api.waooaw.ai",
        "sub": f"user_{caller}",
        "email": f"user_{caller}@example.com",
        "tenant_id": f"tenant_{caller % 20}",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 3000,
        "jti": f"token-{caller}",
    }
    return jwt.encode(claims, _DIGITS, "RS256", {"kid": "k1"})


def check(gateway: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
    """A check as Envoy sends it for a browser's request."""
    message = pb.CheckRequest()
    http = message.attributes.request.http
    http.id, http.method, http.path = "1234567890", "GET" if body is None else "POST", path
    http.host, http.scheme, http.protocol = "api.waooaw.ai", "https", "HTTP/2"
    http.raw_body = b"" if body is None else json.dumps(body).encode()
    http.size = len(http.raw_body)
    http.headers.update(
        {
            ":authority": http.host,
            ":method": http.method,
            ":path": http.path,
            ":scheme": http.scheme,
            "accept": "application/json",
            "accept-encoding": "gzip, deflate, br",
            "accept-language": "en-GB,en;q=0.9",
            "content-type": "application/json",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0",
            "x-forwarded-for": "10.0.0.7",
            "x-forwarded-proto": "https",
            "x-request-id": "0c6a3f3e-8f7b-4c53-9d2b-6a5f0c9d1e11",
            "x-waooaw-client-address": "10.0.0.7",
            **headers,
        }
    )
    known = rules(gateway)
    context = {"gateway": gateway, "policy": known.version, "listener": "mesh", "route": path.rsplit("/", 1)[1]}
    message.attributes.context_extensions.update(context)
    return message.SerializeToString()


@cache
def _token_checks(body: str = "", spoil: bool = False) -> list[bytes]:
    tokens = [token(caller) for caller in range(CALLERS)]
    shown = [text[:-6] + "AAAAAA" if spoil else text for text in tokens]
    path = "/api/marketing/content"
    sent = json.loads(body) if body else None
    return [check("marketing", path, {"authorization": f"Bearer {text}"}, sent) for text in shown]


def _key_checks() -> list[bytes]:
    return [check("marketing", "/api/marketing/content", {"x-api-key": API_KEY})]


@cache
def _signed_checks() -> list[bytes]:
    path, body = "/api/agents/vision", json.dumps(MESSAGE).encode()
    url = f"https://api.waooaw.ai{path}"
    signed = (sign("POST", url, body, "vision", SECRET, int(NOW)) for _ in range(MESSAGES))
    return [check("agents", path, fields, MESSAGE) for fields in signed]


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. `remembers`: whether verified tokens are remembered."""

    gateway: str
    checks: Callable[[], Sequence[bytes]]
    remembers: bool = True
    refused: bool = False


LOADS: Final[Mapping[str, Load]] = {
    "constant": Load("marketing", _token_checks),
    "token, remembered": Load("marketing", _token_checks),
    "token, remembered, body": Load("marketing", lambda: _token_checks(json.dumps(CONTENT))),
    "token, verified (RS256)": Load("marketing", _token_checks, remembers=False),
    "API key": Load("marketing", _key_checks),
    "HMAC signature, body": Load("agents", _signed_checks),
    "refused": Load("marketing", lambda: _token_checks(spoil=True), refused=True),
}


# --- without the wire


def decisions() -> dict[str, float]:
    """Of each load's first check, read and then decided, and of the parts beside the decision."""
    found: dict[str, float] = {}
    for name, load in LOADS.items():
        if name != "constant":
            known = rules(load.gateway, load.remembers)
            asked = read_request(pb.CheckRequest.FromString(load.checks()[0]))
            found[name] = microseconds(lambda asked=asked, known=known: decide(asked, known, facts(), NOW))  # type: ignore[misc]
    raw = _token_checks()[0]
    message = pb.CheckRequest.FromString(raw)
    asked = read_request(message)
    decision = decide(asked, rules("marketing"), facts(), NOW)
    schema = rules("marketing").routes["content"].methods["POST"].schema
    answers = Answers()
    signing_input, encoded = token(0).encode().rsplit(b".", 1)
    key, signature = facts().key_sets["customer"].keys["k1"], base64url.decode(encoded) or b""
    found |= {
        "(verify RS256 alone)": microseconds(lambda: key.verifies(signature, signing_input)),
        "(parse the check)": microseconds(lambda: pb.CheckRequest.FromString(raw)),
        "(read the request)": microseconds(lambda: read_request(message)),
        "(write the answer)": microseconds(lambda: answers.write(decision, asked)),
        "(body against its schema)": microseconds(lambda: None if schema is None else schema.errors(CONTENT)),
    }
    return found


def memory_of_tokens(count: int) -> float:
    """Megabytes that so many remembered tokens of as many callers take."""
    asked = read_request(pb.CheckRequest.FromString(_token_checks()[0]))
    text = asked.headers["authorization"].removeprefix("Bearer ")
    found = verify_token(text, rules("marketing").issuers, facts(), NOW)
    if not isinstance(found, VerifiedToken):
        raise SystemExit(f"a good token was refused: {found}")
    verified = VerifiedTokens(capacity=count)
    before = psutil.Process().memory_info().rss
    for number in range(count):
        names = {
            "subject": f"user_{number}",
            "tenant": f"tenant_{number}",
            "scopes": frozenset({f"marketing:{number}"}),
        }
        claims = replace(found.claims, jti=f"token-{number}", **names)
        one = replace(found, claims=claims, principal=replace(found.principal, **names))
        verified.remember(number.to_bytes(32, "big"), one, NOW)
    return round((psutil.Process().memory_info().rss - before) / 1e6, 1)


# --- over gRPC


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Latencies in milliseconds, CPU in microseconds of the server's process per decision."""

    decisions_per_second: int
    server_cpu: float
    p50: float
    p99: float


class Constant:
    """The least that a handler can do."""

    async def answer(self, raw: bytes, context: object) -> bytes:
        return CONSTANT


async def run_server(kind: ServerKind, name: str, pipe: Connection) -> None:
    load = LOADS[name]
    if name == "constant":
        server = pygrpc_native.aio.server() if kind == "native" else grpc.aio.server()
        handlers = {"Check": grpc.unary_unary_rpc_method_handler(Constant().answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_registered_method_handlers(SERVICE, handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    else:
        written = Path("/dev/null").open("wb")  # noqa: SIM115, ASYNC230 open for as long as the process lives
        audit = JsonLinesSink(written.write)
        recording = asyncio.create_task(audit.run())
        authorizer = Authorizer(
            load.gateway,
            board=FactsBoard(facts()),
            nonces=EveryNonce(),
            audit=audit,
            metrics=AuthzMetrics(CollectorRegistry(), load.gateway),
            clock=lambda: NOW,
        )
        authorizer.install(rules(load.gateway, load.remembers))
        running = await serve(authorizer, "127.0.0.1:0", kind)
        port = running.port
        recording.add_done_callback(lambda _: pipe.close())
    pipe.send(port)
    await asyncio.Event().wait()


def serve_forever(kind: ServerKind, name: str, pipe: Connection) -> None:
    uvloop.run(run_server(kind, name, pipe))


@contextmanager
def server(kind: ServerKind, name: str) -> Iterator[tuple[int, psutil.Process]]:
    """A server's port and process."""
    ours, theirs = multiprocessing.Pipe()
    process = PROCESSES.Process(target=serve_forever, args=(kind, name, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(5)


def client_process(port: int, checks: Sequence[bytes], seconds: float, rate: float | None, pipe: Connection) -> None:
    def client() -> Client:
        # Field 1, the status, is there only where the answer is a refusal.
        return Client(port, f"/{SERVICE}/Check", checks, lambda answer: answer[:1] != b"\x0a")

    client().run(seconds / 4, UNDER_WAY)
    pipe.send("warm")
    pipe.recv()
    measured = client()
    if rate is None:
        measured.run(seconds, UNDER_WAY)
    else:
        measured.run_paced(seconds, rate)
    pipe.send((measured.latencies, measured.good))


def measure(kind: ServerKind, name: str, seconds: float, rate: float | None = None) -> Figures:
    """One run at saturation, or at `rate` decisions per second."""
    checks = LOADS[name].checks()
    with server(kind, name) as (port, process):
        pipes = []
        for _ in range(CONNECTIONS):
            ours, theirs = multiprocessing.Pipe()
            share = None if rate is None else rate / CONNECTIONS
            arguments = (port, checks, seconds, share, theirs)
            PROCESSES.Process(target=client_process, args=arguments, daemon=True).start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        before, start = sum(process.cpu_times()[:2]), time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        results = [pipe.recv() for pipe in pipes]
        elapsed, cpu = time.perf_counter() - start, sum(process.cpu_times()[:2]) - before
    latencies = sorted(latency for run, _ in results for latency in run)
    good = sum(run[1] for run in results)
    if good != (0 if LOADS[name].refused else len(latencies)):
        raise SystemExit(f"{name} on {kind}: {good} of {len(latencies)} checks were allowed")
    return Figures(
        round(len(latencies) / elapsed),
        round(cpu / len(latencies) * 1e6, 1),
        round(latencies[len(latencies) // 2] * 1e3, 2),
        round(latencies[len(latencies) * 99 // 100] * 1e3, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.6, help="length of each run, in seconds")
    parser.add_argument("--tokens", type=int, default=100_000, help="remembered tokens of the memory figure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs: dict[str, Figures] = {}
    for kind in get_args(ServerKind):
        for name in LOADS if kind == "native" else ("constant", "token, remembered"):
            runs[f"{kind}, {name}"] = measure(kind, name, arguments.seconds)
        half = runs[f"{kind}, token, remembered"].decisions_per_second / 2
        runs[f"{kind}, token, remembered, half load"] = measure(kind, "token, remembered", arguments.seconds, half)
    report = {
        "decisions (us)": decisions(),
        "slowest hostile requests (ms)": hostile(),
        f"{arguments.tokens} tokens (MB)": memory_of_tokens(arguments.tokens),
        "runs": {name: asdict(figures) for name, figures in runs.items()},
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report, runs)


def show(report: Mapping[str, object], runs: Mapping[str, Figures]) -> None:
    for name, value in report.items():
        if name != "runs":
            print(f"{name}: {value}")
    print(f"{CONNECTIONS} connections with {UNDER_WAY} checks under way each, {CALLERS} callers")
    print(f"{'':44}{'per s':>9}{'cpu us':>9}{'p50 ms':>9}{'p99 ms':>9}{'cost':>7}")
    for name, figures in runs.items():
        constant = runs[name.split(",")[0] + ", constant"]
        print(
            f"{name:44}{figures.decisions_per_second:>9}{figures.server_cpu:>9}{figures.p50:>9}{figures.p99:>9}"
            f"{figures.server_cpu / constant.server_cpu:>6.2f}x"
        )


if __name__ == "__main__":
    main()
