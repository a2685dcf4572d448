"""Real Envoys with services that the tests steer: central and marketing as their files say, and a road for traffic."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import yaml

from apibank.certificates import ensure_certificates
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.contract.xds_compiler.federation import Federation, compiled, federation_overlays, free_port, load
from tests.contract.xds_compiler.services import allowed, serve
from tests.contract.xds_compiler.static_envoy import running
from tests.contract.xds_compiler.traffic_policy import policy
from tests.contract.xds_compiler.traffic_services import Road
from xds.compiler import compile_


@pytest.fixture(scope="session")
def _federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("federation")
    certificates = ensure_certificates(folder, ["central", "marketing"], datetime.now(UTC))
    admin = {"central": free_port(), "marketing": free_port()}
    federation = Federation(
        free_port(),
        free_port(),
        free_port(),
        free_port(),
        certificates,
        {name: f"http://127.0.0.1:{port}" for name, port in admin.items()},
    )
    server, port = serve(federation.authz, federation.ratelimit)
    overlays = federation_overlays(federation, port)
    snapshots = {name: compiled(load(name, changes)) for name, changes in overlays.items()}
    try:
        with (
            running(snapshots["marketing"], folder / "marketing", admin["marketing"]),
            running(snapshots["central"], folder / "central", admin["central"]),
        ):
            yield federation
    finally:
        server.stop(0).wait()
        federation.service.stop()


@pytest.fixture
def federation(_federation: Federation) -> Federation:
    """The running pair, its services back to letting everything pass."""
    federation = _federation
    federation.authz.asked.clear()
    federation.ratelimit.asked.clear()
    federation.authz.decide = lambda request: allowed(tier="free", caller="tenant:acme")
    federation.ratelimit.answer = type(federation.ratelimit)().answer
    federation.service.hits = 0
    federation.upstream_requests()
    return federation


@pytest.fixture(scope="session")
def _road(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    folder, admin = tmp_path_factory.mktemp("road"), free_port()
    road = Road(free_port(), f"http://127.0.0.1:{admin}")
    server, port = serve(road.authz, road.ratelimit)
    written = yaml.safe_dump(policy(road, f"127.0.0.1:{port}", free_port()))
    try:
        with running(compile_(load_gateway(Gateway, Source("road.yaml", written)), {}), folder, admin):
            yield road
    finally:
        server.stop(0).wait()
        road.stop()


@pytest.fixture
def road(_road: Road) -> Road:
    """One Envoy with a route for each traffic policy, its services back to letting everything pass."""
    _road.forget()
    _road.authz.decide = lambda request: allowed(tier="free", caller="tenant:acme")
    return _road
