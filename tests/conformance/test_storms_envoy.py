"""A real Envoy whose connection to the control plane ends again and again."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from tests.conformance.envoys import backend, bootstrap, envoy, free_port, get, resources
from xds.admission import ServerLimits
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import serve

pytestmark = pytest.mark.e2e
WITHIN = 20.0


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_connections_that_grow_old_cost_an_envoy_no_request_and_no_change(tmp_path: Path, delta: bool) -> None:
    publisher, registry, admin = Publisher(), CollectorRegistry(), free_port()

    def metric(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"apibank_xds_{name}", labels) or 0.0

    server = await serve(
        publisher,
        "127.0.0.1:0",
        identifier="replica-1",
        metrics=XdsMetrics(registry),
        limits=ServerLimits(max_connection_age_seconds=0.5),
    )
    async with backend("x") as x, backend("y") as y:
        port = free_port()
        snapshots = [resources(port, {"x": x, "y": y}, to).snapshot() for to in ("x", "y")]
        publisher.set_snapshot("edge", snapshots[0])
        async with envoy(bootstrap(server.port, admin, delta=delta), tmp_path / "envoy", admin):
            answers: set[str] = set()

            async def ask() -> None:
                while True:
                    answers.add(await get(port))
                    await asyncio.sleep(0.01)

            asking = asyncio.create_task(ask())
            async with asyncio.timeout(WITHIN):
                while metric("aged_streams_total") < 3:
                    await asyncio.sleep(0.02)
            assert answers == {"200 x"}
            # With every stream anew, and among their ends, changes arrive.
            for snapshot in (snapshots[1], snapshots[0], snapshots[1]):
                publisher.set_snapshot("edge", snapshot)
                async with asyncio.timeout(WITHIN):
                    while "edge-1" not in publisher.live("edge", snapshot.version).acked:
                        await asyncio.sleep(0.02)
            answers.clear()
            async with asyncio.timeout(WITHIN):
                while metric("aged_streams_total") < 6:
                    await asyncio.sleep(0.02)
            assert answers == {"200 y"}
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
    assert sum(metric("nacks_total", type=short) for short in ("CDS", "EDS", "LDS", "RDS")) == 0
    await server.stop(0)
