"""The gateway of these tests, run by a real Envoy."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.contract.upstreams.shop import POLICY, Host, Open, Shop
from tests.contract.xds_compiler.federation import compiled, free_port
from tests.contract.xds_compiler.services import Authz, RateLimit, serve
from tests.contract.xds_compiler.static_envoy import running


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    pair = (Host(), Host())
    yield pair
    for host in pair:
        host.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Open]:
    """Opens the gateway with this upstream, and changes of top-level sections of its policy."""
    services, services_port = serve(Authz(), RateLimit())
    own = {"endpoint": f"127.0.0.1:{services_port}", "timeout_ms": 2000}

    @contextlib.contextmanager
    def opened(upstream: dict[str, Any], **changes: Any) -> Iterator[Shop]:
        port = free_port()
        sections = POLICY | {
            "services": {"authz": {**own}, "ratelimit": {**own}},
            "upstreams": {"service": upstream},
            "listeners": {"door": {"address": f"127.0.0.1:{port}"}},
        }
        text = yaml.safe_dump(sections | changes)
        snapshot = compiled(load_gateway(Gateway, Source("shop.yaml", text)))
        with running(snapshot, tmp_path / "envoy", free_port()) as admin:
            yield Shop(port, admin)

    yield opened
    services.stop(0).wait()
