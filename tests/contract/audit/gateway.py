"""A gateway's real process whose audit is required, asked as Envoy asks it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import httpx2

from apibank.policies import PolicyFolder
from protos import ext_authz_pb2 as pb
from protos import ext_authz_pb2_grpc as pb_grpc
from records.audit_log import AuditLog, AuditQuery
from records.audit_verify import AuditVerification, Finding
from records.database import Database

ROOT: Final = Path(__file__).resolve().parents[3]
NAME: Final = "platform"
SECONDS: Final = 60.0
POLICY: Final = """\
gateway: platform
description: For tests of the audit.
owners: [tests@example.com]
callers: {{}}
tiers: [internal]
audit: required
services:
  authz: {{endpoint: "127.0.0.1:{authz}", timeout_ms: 30000}}
  ratelimit: {{endpoint: "127.0.0.1:{ratelimit}"}}
limits:
  all: {{description: Of anybody., per: address, unit: minute, requests: 100000}}
upstreams:
  service: {{endpoints: ["127.0.0.1:9"]}}
listeners:
  mesh: {{address: "127.0.0.1:{listener}"}}
defaults:
  methods: {{GET: read}}
routes:
  health: {{path: /health, access: public, limits: [all], upstream: service}}
"""


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class Service:
    """One process of the gateway; `start` and `end` it as often as a test likes."""

    def __init__(self, folder: Path, database: str) -> None:
        self.state_dir = folder / "state"
        self.database = database
        self._policies = folder / "gateways"
        self._policies.mkdir(parents=True)
        self._authz, self._metrics, ratelimit, listener = free_ports(4)
        text = POLICY.format(authz=self._authz, ratelimit=ratelimit, listener=listener)
        (self._policies / f"{NAME}.yaml").write_text(text, encoding="utf-8")
        self._version = PolicyFolder(self._policies, ()).load_one(NAME).gateway.version
        self._said = folder / "service.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        """Start it, and wait until it serves."""
        command = ["-m", "apibank", "serve", "authz", NAME, "--store", "memory", "--policies", str(self._policies)]
        command += ["--database", self.database, "--state-dir", str(self.state_dir)]
        command += ["--metrics-listen", f"127.0.0.1:{self._metrics}"]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=said,
            )
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx2.get(f"http://127.0.0.1:{self._metrics}/ready").is_success:
                    return
            except httpx2.HTTPError:
                time.sleep(0.05)
        raise RuntimeError(self._said.read_text(encoding="utf-8")[-4000:])

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(SECONDS)

    def metric(self, name: str, **labels: str) -> float:
        """One of its figures."""
        wanted = [f'{key}="{value}"' for key, value in {"gateway": NAME, **labels}.items()]
        for line in httpx2.get(f"http://127.0.0.1:{self._metrics}/metrics").text.splitlines():
            if line.startswith(name + "{") and all(one in line for one in wanted):
                return float(line.rpartition(" ")[2])
        raise KeyError(name)

    async def ask(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Ask for each, all at once: what was answered, `allowed` or a reason, by request id."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._authz}") as channel:
            stub = pb_grpc.AuthorizationStub(channel)  # type: ignore[no-untyped-call]
            answers = await asyncio.gather(*(self._ask_one(stub, one) for one in request_ids))
        return dict(zip(request_ids, answers, strict=True))

    async def _ask_one(self, stub: pb_grpc.AuthorizationStub, request_id: str) -> str:
        message = pb.CheckRequest()
        http = message.attributes.request.http
        http.method, http.path, http.host, http.scheme = "GET", "/health", "api.example.com", "https"
        http.headers.update({"x-request-id": request_id, "x-waooaw-client-address": "192.0.2.7"})
        context = {"gateway": NAME, "policy": self._version, "listener": "mesh", "route": "health"}
        message.attributes.context_extensions.update(context)
        try:
            answer = await stub.Check(message, timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        if answer.HasField("ok_response"):
            return "allowed"
        code: str = json.loads(answer.denied_response.body)["code"]
        return code


@contextmanager
def served(folder: Path, database: str, **environment: str) -> Iterator[Service]:
    """A running service, ended with the test."""
    service = Service(folder, database)
    try:
        service.start(**environment)
        yield service
    finally:
        service.end()


async def rows(database: str) -> list[str]:
    """The request ids of the rows, in their order, from a chain that is whole."""
    async with Database(database) as opened:
        found = [one async for one in AuditVerification(opened).verify(NAME)]
        assert [one for one in found if isinstance(one, Finding)] == []
        return [row.entry.request_id async for row in AuditLog(opened).scan(AuditQuery(gateway=NAME))]


async def until_stored(service: Service, count: int) -> list[str]:
    """The rows, as soon as there are so many and nothing waits."""
    async with asyncio.timeout(SECONDS):
        while len(found := await rows(service.database)) < count or service.metric(
            "apibank_audit_oldest_unsent_seconds"
        ):
            await asyncio.sleep(0.1)
    return found
