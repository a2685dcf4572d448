"""A canary among real Envoys under load: it passes, or halts on a refusal or on a rise of errors."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.envoys import backend, bootstrap, envoy, free_port, get, listener, resources
from xds import canary
from xds.canary import CanaryOutcome, Verdict, run_canary
from xds.load_reports.reports import SHORTEST_SECONDS, LoadReports
from xds.publisher import Publisher
from xds.server import serve
from xds.snapshot import LISTENER, Snapshot

pytestmark = pytest.mark.e2e
WITHIN = 20.0
NODES = ("edge-1", "edge-2")


class Driven:
    """Two Envoys on one port, between which the kernel shares connections, and someone who keeps asking."""

    def __init__(self, publisher: Publisher, reports: LoadReports, backends: dict[str, int]) -> None:
        self.publisher = publisher
        self.reports = reports
        self.backends = backends
        self.port = free_port()
        self.answers: Counter[str] = Counter()

    def snapshot(self, to: str) -> Snapshot:
        return resources(self.port, {to: self.backends[to]}, to).snapshot()

    async def canary(self, candidate: Snapshot, *, soak: float) -> CanaryOutcome:
        running = run_canary(self.publisher, "edge", candidate, 50, soak=soak, within=WITHIN, traffic=self.reports)
        return await asyncio.wait_for(running, WITHIN + 2 * soak)

    async def runs_everywhere(self, snapshot: Snapshot) -> bool:
        return (await self.publisher.wait_live("edge", snapshot.version, expected=2, within=WITHIN)).complete

    async def keep_asking(self) -> None:
        while True:
            self.answers[await get(self.port)] += 1
            await asyncio.sleep(0.005)


@pytest.fixture
async def driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Driven]:
    # So that a short trial has figures too.
    monkeypatch.setattr(canary, "REPORT_SECONDS", SHORTEST_SECONDS)
    async with contextlib.AsyncExitStack() as stack:
        publisher, reports = Publisher(), LoadReports()
        server = await serve(publisher, "127.0.0.1:0", identifier="replica-1", load_reports=reports)
        stack.push_async_callback(server.stop, 0)
        backends = {name: await stack.enter_async_context(backend(name)) for name in ("x", "y")}
        one = Driven(publisher, reports, {**backends, "nobody": free_port()})
        first = one.snapshot("x")
        publisher.set_snapshot("edge", first)
        for node_id in NODES:
            admin = free_port()
            await stack.enter_async_context(envoy(reporting(server.port, admin, node_id), tmp_path / node_id, admin))
        assert await one.runs_everywhere(first)
        asking = [asyncio.create_task(one.keep_asking()) for _ in range(4)]
        yield one
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)


def reporting(control_plane: int, admin: int, node_id: str) -> str:
    """A bootstrap of this node, with load reports."""
    config: dict[str, Any] = json.loads(bootstrap(control_plane, admin, delta=True))
    config["node"]["id"] = node_id
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    config["cluster_manager"] = {"load_stats_config": source}
    return json.dumps(config)


async def test_a_good_candidate_is_tried_on_one_and_then_runs_on_both_without_a_failed_request(driven: Driven) -> None:
    candidate = driven.snapshot("y")
    outcome = await driven.canary(candidate, soak=1)
    assert (outcome.verdict, len(outcome.nodes)) == (Verdict.PASSED, 1), outcome
    assert min(outcome.figures.canary.requests, outcome.figures.others.requests) > 0
    assert "could not be watched" not in outcome.detail
    assert await driven.runs_everywhere(candidate)
    assert await get(driven.port) == "200 y"
    assert set(driven.answers) == {"200 x", "200 y"}


async def test_a_candidate_whose_backend_fails_is_halted_and_taken_back(driven: Driven) -> None:
    outcome = await driven.canary(driven.snapshot("nobody"), soak=WITHIN)
    assert outcome.verdict is Verdict.ERRORS_ROSE, outcome
    assert await driven.runs_everywhere(driven.snapshot("x"))
    driven.answers.clear()
    await asyncio.sleep(0.3)
    assert set(driven.answers) == {"200 x"}


async def test_a_candidate_that_an_envoy_refuses_is_halted_and_taken_back(driven: Driven) -> None:
    built = resources(driven.port, {"y": driven.backends["y"]}, "y")
    duplicate = listener(driven.port) | {"name": "same address"}
    outcome = await driven.canary(built.add(LISTENER, duplicate).snapshot(), soak=WITHIN)
    assert outcome.verdict is Verdict.REFUSED, outcome
    assert "refused 'same address' (edge.yaml:5)" in outcome.detail
    assert "duplicate address" in outcome.detail
    assert await driven.runs_everywhere(driven.snapshot("x"))
    assert driven.publisher.rolled_back("edge") == ()
    # The canary may have served from y before it refused, but nobody was left without an answer.
    assert set(driven.answers) <= {"200 x", "200 y"}
