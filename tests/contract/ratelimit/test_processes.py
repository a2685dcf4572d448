"""Several processes on one store count as one: directly, and behind their gRPC servers."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from protos import rls_pb2 as pb
from protos import rls_pb2_grpc as pb_grpc
from tests.contract.ratelimit.asking_process import CALLERS, SHARED, own
from tests.contract.ratelimit.service import OK, descriptor
from tests.contract.ratelimit.stores import opened, remaining
from tests.support.redis_servers import HOST, cluster, folder, free_port, one_server, until
from tests.support.stack import ROOT

PROCESSES, TIMES = 4, 500


@contextmanager
def store_of(kind: str) -> Iterator[str]:
    if kind == "cluster":
        with cluster() as nodes:
            yield nodes.url
    else:
        with one_server() as server:
            yield f"redis://{HOST}:{server.port}/0"


def admitted_by_all(url: str, mode: str) -> int:
    """How many all processes were admitted together, having begun at one moment."""
    command = (sys.executable, "-m", "tests.contract.ratelimit.asking_process", url, str(TIMES), mode)
    with ExitStack() as held:
        asking = [
            held.enter_context(
                subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(PROCESSES)
        ]
        for each in asking:
            assert each.stdout is not None
            assert each.stdout.readline() == "ready\n"
        for each in asking:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        return sum(int(each.communicate(timeout=60)[0]) for each in asking)


@pytest.mark.requirement("R23")
@pytest.mark.attack("A61")
@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_two_thousand_at_once_from_four_processes_on_a_limit_of_a_hundred_admit_a_hundred(kind: str) -> None:
    with store_of(kind) as url:
        assert admitted_by_all(url, "one") == 100


@pytest.mark.attack("A63")
async def test_what_four_processes_refuse_together_consumes_nothing() -> None:
    with store_of("server") as url:
        assert await asyncio.to_thread(admitted_by_all, url, "pairs") == 50
        async with opened(url) as store:
            left = await remaining(store, *(own(number) for number in range(CALLERS)), SHARED)
    assert left.count(0) == 51
    assert sorted(left[:-1]) == [0] * 50 + [1] * (CALLERS - 50)


@contextmanager
def services(url: str) -> Iterator[list[int]]:
    """Four rate-limit services in processes of their own, on one store: their ports."""
    with folder() as path, ExitStack() as held:
        (path / "config").mkdir()
        (path / "config" / "limits.yaml").write_text(
            "domain: test\ndescriptors:\n- key: hot\n  rate_limit: {unit: year, requests_per_unit: 100}\n", "utf-8"
        )
        ports = []
        for number in range(PROCESSES):
            port, metrics = free_port(), free_port()
            ports.append(port)
            command = (sys.executable, "-m", "apibank", "serve", "ratelimit", "--config", str(path / "config"))
            command += ("--store", url, "--listen", f"{HOST}:{port}", "--metrics-listen", f"{HOST}:{metrics}")
            held.callback(_end, _started(command, path / f"{number}.log"))
        try:
            for port in ports:
                until(lambda port=port: _listens(port), f"a service at {port}", 90)  # type: ignore[misc]
        except AssertionError as error:
            raise AssertionError((path / "0.log").read_text("utf-8")) from error
        yield ports


def _started(command: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env={**os.environ})


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.mark.requirement("R23")
async def test_two_thousand_at_once_over_four_services_on_a_limit_of_a_hundred_admit_a_hundred() -> None:
    with store_of("server") as url, ExitStack() as held:
        ports = await asyncio.to_thread(held.enter_context, services(url))
        question = pb.RateLimitRequest(domain="test", descriptors=[descriptor(("hot", "x"))])
        channels = [grpc.aio.insecure_channel(f"{HOST}:{port}") for port in ports]
        stubs = [pb_grpc.RateLimitServiceStub(channel) for channel in channels]
        codes: list[object] = []

        async def ask(number: int) -> None:
            try:
                answer = await stubs[number % PROCESSES].ShouldRateLimit(question, timeout=30)
            except grpc.aio.AioRpcError as error:
                # The store's answer came later than the service waits: that is no admission.
                codes.append(error.code())
            else:
                codes.append(answer.overall_code)

        await asyncio.gather(*(ask(number) for number in range(PROCESSES * TIMES)))
        # Those who were not told whether they were counted may have been; nobody beyond the limit was admitted.
        unsure = sum(isinstance(code, grpc.StatusCode) for code in codes)
        assert 100 - unsure <= codes.count(OK) <= 100
        for channel in channels:
            await channel.close()
