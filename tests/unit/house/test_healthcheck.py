"""deploy/healthcheck.py, which decides in containers whether one is healthy."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "healthcheck.py"


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.lstrip("/")))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent: what matters is the script's own output."""


@pytest.fixture
def http() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[str, health.HealthServicer]]:
    """A gRPC server on a Unix socket with the standard health service: its target, and the servicer to change it."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    target = f"unix:{tmp_path}/service.sock"
    server.add_insecure_port(target)
    server.start()
    yield f"grpc:{target}", servicer
    server.stop(None).wait()


def _check(*addresses: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *addresses], capture_output=True, text=True, check=False, timeout=30)


def test_everything_is_well(http: str, service: tuple[str, health.HealthServicer]) -> None:
    run = _check(f"{http}/200", service[0])
    assert (run.returncode, run.stderr) == (0, "")


def test_one_that_is_ill_decides(http: str, service: tuple[str, health.HealthServicer]) -> None:
    target, servicer = service
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    run = _check(f"{http}/200", target)
    assert run.returncode == 1
    assert run.stderr == f"{target}: NOT_SERVING\n"


def test_a_status_that_is_not_200_is_ill(http: str) -> None:
    assert _check(f"{http}/503").returncode == 1


@pytest.mark.parametrize(
    "address", ["grpc:unix:/nowhere/service.sock", "http://127.0.0.1:1/", "file:///etc/passwd", "x"]
)
def test_what_does_not_answer_is_ill(address: str) -> None:
    run = _check(address)
    assert run.returncode == 1
    assert run.stderr.startswith(f"{address}: ")


def test_nothing_to_check_is_not_healthy() -> None:
    assert _check().returncode == 1
