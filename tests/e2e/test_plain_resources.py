"""`apibank serve control-plane --resources`: an xDS server for anybody's Envoy, without any policy."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from apibank.ports import is_free
from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.support.stack import ROOT
from xds.snapshot import CLUSTER

CLUSTER_FILE = """\
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: {name}
  type: STATIC
  connect_timeout: 0.25s
"""


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The server's address and the folder of the group `edge`."""
    group = tmp_path / "resources" / "edge"
    group.mkdir(parents=True)
    (group / "clusters.yaml").write_text(CLUSTER_FILE.format(name="one"), encoding="utf-8")
    port = next(port for port in range(11_800, 11_900) if is_free(port))
    listen = f"127.0.0.1:{port}"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "apibank",
            "serve",
            "control-plane",
            "--resources",
            str(group.parent),
            "--listen",
            listen,
        ],
        cwd=ROOT,
    )
    try:
        yield listen, group
    finally:
        process.terminate()
        assert process.wait(15) == 0


def _ask(channel: grpc.Channel) -> "Iterator[pb.DiscoveryResponse]":
    request = pb.DiscoveryRequest(type_url=CLUSTER, node=pb.Node(id="any", cluster="edge"))

    def requests() -> Iterator[pb.DiscoveryRequest]:
        yield request
        time.sleep(30)

    stub = pb_grpc.AggregatedDiscoveryServiceStub(channel)
    answers: Iterator[pb.DiscoveryResponse] = stub.StreamAggregatedResources(
        requests(), wait_for_ready=True, timeout=30
    )
    return answers


@pytest.mark.requirement("U2")
def test_resources_are_served_to_their_group_and_follow_their_file(target: tuple[str, Path]) -> None:
    listen, group = target
    with grpc.insecure_channel(listen) as channel:
        answers = _ask(channel)
        first = next(answers)
        assert [one.type_url for one in first.resources] == [CLUSTER]
        (group / "clusters.yaml").write_text("- a mistake\n", encoding="utf-8")
        time.sleep(0.5)
        (group / "clusters.yaml").write_text(CLUSTER_FILE.format(name="two"), encoding="utf-8")
        request = pb.DiscoveryRequest(
            type_url=CLUSTER, node=pb.Node(id="later", cluster="edge"), version_info="", response_nonce=""
        )
        deadline = time.monotonic() + 10
        names = {b"one"}
        while names != {b"two"}:
            assert time.monotonic() < deadline, names
            stub = pb_grpc.AggregatedDiscoveryServiceStub(channel)
            answer = next(stub.StreamAggregatedResources(iter([request]), timeout=10))
            names = {name for one in answer.resources for name in (b"one", b"two") if name in one.value}
