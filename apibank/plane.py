"""The parts of the control plane, put together once: publishing, history, rollouts, and what survives a restart."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Gauge

from apibank.candidates import PolicyFiles
from apibank.claims import Claims
from apibank.control_plane import ControlPlane
from apibank.drafts import Linter, no_complaints
from apibank.endpoint_desk import EndpointDesk
from apibank.forgetting import Forgetting
from apibank.gateway_states import FederationStates
from apibank.journal import Journal
from apibank.last_good import LastGood
from apibank.policies import PolicyFolder
from apibank.policy_desk import PolicyDesk
from apibank.policy_gate import PolicyGate
from apibank.policy_problems import PolicyProblems
from apibank.preparation import Preparation
from apibank.rollouts import Rollouts
from apibank.runtime_endpoints import RuntimeEndpoints
from records.change_claims import ChangeClaims
from records.database import Database
from records.endpoint_overrides import EndpointOverrides
from records.errors import LOST_DATABASE
from records.policy_history import PolicyHistory
from records.snapshots import Snapshots
from xds.canary import TrafficReports
from xds.metrics import XdsMetrics
from xds.publisher import Publisher

_ENDPOINTS_PAUSE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Plane:
    """Everything behind the xDS server and the control API."""

    control: ControlPlane
    rollouts: Rollouts
    claims: Claims
    states: FederationStates
    desk: PolicyDesk
    hosts: EndpointDesk
    journal: Journal
    last_good: LastGood

    @classmethod
    def of(
        cls,
        folder: PolicyFolder,
        publisher: Publisher,
        database: Database,
        traffic: TrafficReports,
        metrics: XdsMetrics,
        registry: CollectorRegistry,
        linter: Linter = no_complaints,
        gate: PolicyGate | None = None,
    ) -> Self:
        """`traffic`: what the Envoys report, which canaries are judged by. `linter`: of what is applied."""
        journal, history = Journal(registry), PolicyHistory(database)
        endpoints = RuntimeEndpoints(EndpointOverrides(database), journal.write)
        ends = Gauge(
            "apibank_certificate_not_after_seconds",
            "When a certificate of a gateway is over, in seconds since the epoch.",
            ("gateway", "certificate"),
            registry=registry,
        )
        control = ControlPlane(
            folder,
            publisher,
            preparation=Preparation(metrics.compiled, lambda gateway, name, at: ends.labels(gateway, name).set(at)),
            endpoints=endpoints,
            history=history,
            journal=journal,
            metrics=metrics,
            gate=gate,
        )
        registry.register(
            PolicyProblems(lambda: {name: len(state.errors) for name, state in list(control.states.items())})
        )
        last_good = LastGood(Snapshots(database), control.policies_of)
        publisher.on_good(last_good.note)
        files = PolicyFiles(folder)
        claims = Claims(ChangeClaims(database), history, files)
        rollouts = Rollouts(control, files, history, claims, journal.write, traffic, metrics)
        return cls(
            control,
            rollouts,
            claims,
            FederationStates(control, rollouts),
            PolicyDesk(control, rollouts, files, history, Forgetting(control, rollouts, last_good), linter),
            EndpointDesk(control, rollouts),
            journal,
            last_good,
        )

    async def restore(self) -> None:
        """Before any Envoy is served and any file is read: what was good last, and what was set while running."""
        await self.control.restore(self.last_good)
        with contextlib.suppress(*LOST_DATABASE):
            await self.claims.close_abandoned(self.control.folder.names)

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped."""
        await self.control.endpoints.load()
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as running:
            running.create_task(self.journal.run(ended))
            running.create_task(self._end_rollouts(stop, ended))
            running.create_task(self.claims.follow(stop, self.control.folder.names))
            running.create_task(self.last_good.run(stop))
            running.create_task(self._follow_endpoints(stop))
            running.create_task(self.control.run(stop))

    async def _end_rollouts(self, stop: asyncio.Event, ended: asyncio.Event) -> None:
        """What became of them is written before the journal is closed, so that nobody waits for them."""
        await stop.wait()
        await self.rollouts.close()
        ended.set()

    async def close(self) -> None:
        """End what is being made: the base goes on everywhere."""
        await self.rollouts.close()

    async def _follow_endpoints(self, stop: asyncio.Event) -> None:
        """What other replicas set comes into force here, too, and what is not known as the database was away."""
        moved: set[str] = set()
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _ENDPOINTS_PAUSE_SECONDS)
                return
            moved |= await self.control.endpoints.load() or frozenset()
            # What is published ends a canary: until then hosts are those of its beginning.
            for name in [each for each in moved if self.rollouts.running(each) is None]:
                moved.discard(name)
                await self.control.republish_endpoints(name)
