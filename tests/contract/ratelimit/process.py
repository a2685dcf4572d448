"""`apibank serve ratelimit --config DIR` as a process of its own, and how the tests ask it."""

import itertools
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from prometheus_client.parser import text_string_to_metric_families

from protos import rls_pb2 as pb
from protos import rls_pb2_grpc as pb_grpc

_PATIENCE = 60.0


@dataclass
class Served:
    """The process: its folder of files, a stub that calls it, and values that no test has used before."""

    folder: Path
    stub: pb_grpc.RateLimitServiceStub
    channel: grpc.Channel
    metrics_url: str
    http_url: str
    target: str
    process: "subprocess.Popen[bytes]"
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def fresh(self) -> str:
        return f"v{next(self._numbers)}-{time.monotonic_ns()}"

    def ask(self, *descriptors: pb.RateLimitDescriptor, domain: str = "cases", hits: int = 0) -> pb.RateLimitResponse:
        request = pb.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits)
        answer: pb.RateLimitResponse = self.stub.ShouldRateLimit(request, timeout=10)
        return answer

    def codes(self, *descriptors: pb.RateLimitDescriptor, times: int, domain: str = "cases") -> list[int]:
        return [self.ask(*descriptors, domain=domain).overall_code for _ in range(times)]

    def metric(self, name: str, **labels: str) -> float:
        text = get(self.metrics_url + "/metrics")[1].decode()
        samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
        return next((one.value for one in samples if (one.name, one.labels) == (name, labels)), 0.0)

    def loaded(self, change: Callable[[], object], outcome: str = "ok") -> None:
        """Change the folder's files, and wait until the process has read them."""
        before = self.metric("apibank_ratelimit_config_loads_total", outcome=outcome)
        change()
        until(lambda: self.metric("apibank_ratelimit_config_loads_total", outcome=outcome) > before)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def within_one(unit_seconds: int, test: Callable[[], None]) -> None:
    """Run a test that counts in windows; one that a window's edge fell into says nothing, and is run again."""
    for _ in range(3):
        before = time.time() // unit_seconds
        try:
            test()
        except AssertionError:
            if time.time() // unit_seconds == before:
                raise
        else:
            if time.time() // unit_seconds == before:
                return
    raise AssertionError("an edge fell into the test each time")


def get(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of a GET, or of a POST where there is something to send."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextmanager
def served(folder: Path, store: str, sockets: Path, *options: str, port: int | None = None) -> Iterator[Served]:
    """The process with the files of a folder; stopped afterwards. Its gRPC is on a Unix socket, or on a port."""
    place = f"unix:{sockets / 'limits.sock'}" if port is None else f"127.0.0.1:{port}"
    metrics, http = free_port(), free_port()
    listen = ["--listen", place, "--metrics-listen", f"127.0.0.1:{metrics}"]
    command = [sys.executable, "-m", "apibank", "serve", "ratelimit", "--config", str(folder), "--store", store]
    command += [*listen, "--http-listen", f"127.0.0.1:{http}", *options]
    with (sockets / "log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    try:
        with grpc.insecure_channel(place) as channel:
            url = f"http://127.0.0.1:{metrics}"
            until(lambda: process.poll() is not None or _answers(url + "/ready"))
            assert process.poll() is None, (sockets / "log").read_text()
            stub = pb_grpc.RateLimitServiceStub(channel)
            yield Served(folder, stub, channel, url, f"http://127.0.0.1:{http}", place, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return get(url)[0] == 200
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
