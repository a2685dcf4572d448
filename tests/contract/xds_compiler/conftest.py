"""Central and marketing as their files say, on two real Envoys, with services that the tests steer."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from apibank.certificates import ensure_certificates
from tests.contract.xds_compiler.federation import Federation, compiled, federation_overlays, free_port, load
from tests.contract.xds_compiler.services import allowed, serve
from tests.contract.xds_compiler.static_envoy import running


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
