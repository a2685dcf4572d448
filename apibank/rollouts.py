"""Changes that are applied: written down, tried on some Envoys first where that is asked for, and made live."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from apibank.candidates import PolicyFiles, ReadOnlyFolderError
from apibank.control_plane import ControlPlane
from apibank.policy_gate import PATIENCE_SECONDS, policy_known
from apibank.published import Intent
from policy.load import Loaded
from policy.model import Gateway
from portal.policies_api import CanaryPlan
from records.policy_history import Change, Entry, PolicyHistory, Result
from xds.canary import CanaryOutcome, TrafficReports, Verdict, run_canary
from xds.metrics import XdsMetrics
from xds.snapshot import Snapshot

_LOG: Final = structlog.get_logger(__name__)
_RESULTS: Final[Mapping[Verdict, Result]] = {
    Verdict.REFUSED: Result.HALTED,
    Verdict.ERRORS_ROSE: Result.HALTED,
    Verdict.TIMED_OUT: Result.HALTED,
    Verdict.ABANDONED: Result.ABANDONED,
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A text that may become a gateway's policy: loaded under the overlays, and compiled.

    `live` is the version that was live then.
    """

    gateway: str
    text: str
    loaded: Loaded[Gateway]
    snapshot: Snapshot
    live: str | None

    @property
    def version(self) -> str:
        return self.loaded.gateway.version


@dataclass(slots=True)
class Rollout:
    """A change that is being made: by whom, and how far it is."""

    gateway: str
    version: str
    intent: Intent
    step: str = "waiting"
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        revision = "" if self.intent.revision is None else f"revision {self.intent.revision}, "
        return f"{self.gateway}: {revision}version {self.version} by {self.intent.author}, {self.step}"


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a change, and why."""

    result: Result
    detail: str


class BusyError(Exception):
    """Another change of the gateway is being made; the text says whose."""


class Rollouts:
    """One at a time for each gateway. Whatever ends one, its candidate file is taken away."""

    def __init__(
        self,
        control: ControlPlane,
        files: PolicyFiles,
        history: PolicyHistory,
        later: Callable[[Callable[[], Awaitable[None]]], None],
        traffic: TrafficReports,
        metrics: XdsMetrics,
        *,
        canary: Callable[..., Awaitable[CanaryOutcome]] = run_canary,
    ) -> None:
        """`later` does a write of the history as soon as the database takes it."""
        self._control = control
        self._files = files
        self._history = history
        self._later = later
        self._traffic = traffic
        self._metrics = metrics
        self._canary = canary
        self._running: dict[str, Rollout] = {}
        self._tasks: set[asyncio.Task[Ended]] = set()

    def running(self, gateway: str) -> Rollout | None:
        return self._running.get(gateway)

    def reserve(self, gateway: str, version: str, intent: Intent) -> Rollout:
        """Take the gateway's place. Raises BusyError. `release` it, or `begin` what it was taken for."""
        if (other := self._running.get(gateway)) is not None:
            raise BusyError(str(other))
        rollout = self._running[gateway] = Rollout(gateway, version, intent)
        return rollout

    def release(self, rollout: Rollout) -> None:
        if self._running.get(rollout.gateway) is rollout:
            del self._running[rollout.gateway]

    async def begin(self, rollout: Rollout, draft: Draft, plan: CanaryPlan | None) -> asyncio.Task[Ended]:
        """Write the change down and start to make it. Raises one of LOST_DATABASE, and makes no change then."""
        intent = rollout.intent
        entry = Entry(
            draft.gateway, draft.version, draft.text, intent.author, intent.message, intent.source,
            datetime.now(UTC), Result.RUNNING, canary_percent=intent.canary_percent,
        )  # fmt: skip
        rollout.version = draft.version
        rollout.intent = replace(intent, revision=await self._history.add(entry))
        task = asyncio.create_task(self._run(rollout, draft, plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def abandon_former(self, gateways: tuple[str, ...]) -> None:
        """Close what an earlier process has left unfinished: the base goes on."""
        for gateway in await self._files.withdraw_all():
            _LOG.warning("candidate_dropped", gateway=gateway)

        async def abandon() -> None:
            await self._history.abandon_running(gateways, "the control plane ended while it was being made")

        self._later(abandon)

    async def close(self) -> None:
        """End what is being made, as when the process ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, rollout: Rollout, draft: Draft, plan: CanaryPlan | None) -> Ended:
        result, detail = Result.ABANDONED, "the control plane ended while it was being made"
        try:
            result, detail = await self._made(rollout, draft, plan)
        except (ReadOnlyFolderError, ValueError) as error:
            result, detail = Result.REFUSED, str(error)
        except Exception as error:  # noqa: BLE001 whatever it was, it has ended and is told
            _LOG.exception("rollout_failed", gateway=rollout.gateway, version=rollout.version)
            result, detail = Result.REFUSED, f"it failed: {type(error).__name__}; see the control plane's log"
        finally:
            try:
                self._conclude(rollout, result, detail)
                if result is Result.LIVE:
                    self._control.tell_rolled_back(rollout.gateway)
                await self._files.withdraw(rollout.gateway)
            finally:
                self.release(rollout)
        return Ended(result, detail)

    async def _made(self, rollout: Rollout, draft: Draft, plan: CanaryPlan | None) -> tuple[Result, str]:
        detail = ""
        if plan is not None:
            outcome = await self._try(rollout, draft, plan)
            if isinstance(outcome, str):
                return Result.HALTED, outcome
            detail = outcome.detail
            if outcome.verdict is not Verdict.PASSED:
                return _RESULTS[outcome.verdict], detail
        rollout.step = "publishing"
        async with self._control.changing(rollout.gateway):
            if self._superseded(draft, promoted=plan is not None):
                return Result.ABANDONED, "the file was saved meanwhile"
            try:
                await self._files.replace(rollout.gateway, draft.text)
            except ReadOnlyFolderError:
                await self._back_to_file(rollout.gateway)
                raise
            if not await self._control.publish_held(rollout.gateway, rollout.intent):
                return Result.REFUSED, "the file could not be published; see the gateway's status"
        return Result.LIVE, detail

    async def _try(self, rollout: Rollout, draft: Draft, plan: CanaryPlan) -> CanaryOutcome | str:
        """Run the candidate on some of the Envoys; a text says why it did not come to that."""
        rollout.step = "waiting for authorization to know the candidate"
        await self._files.offer(rollout.gateway, draft.text)
        endpoint = draft.loaded.gateway.services.authz.endpoint
        if not await policy_known(endpoint, draft.version, max(PATIENCE_SECONDS, min(plan.within, 10.0))):
            return f"authorization at {endpoint} does not decide by the candidate, so its Envoys would refuse everybody"
        self._control.about_to_serve(draft.loaded.gateway)
        rollout.step = f"canary on {plan.percent} % of the Envoys"
        self._metrics.canary_running(rollout.gateway, max(1, self._nodes(rollout.gateway) * plan.percent // 100))
        outcome = None
        try:
            outcome = await self._canary(
                self._control.publisher,
                rollout.gateway,
                draft.snapshot,
                plan.percent,
                soak=plan.soak,
                within=plan.within,
                traffic=self._traffic,
            )
        finally:
            self._metrics.canary_running(rollout.gateway, 0)
            verdict = Verdict.ABANDONED if outcome is None else outcome.verdict
            self._metrics.canary_ended(rollout.gateway, verdict.value)
        return outcome

    def _nodes(self, gateway: str) -> int:
        return self._control.publisher.nodes.count(gateway)

    def _superseded(self, draft: Draft, *, promoted: bool) -> bool:
        """Whether something else was published since the draft was made, or since it was promoted."""
        live, intended = self._control.policy_of(draft.gateway), self._control.publisher.intended(draft.gateway)
        if (None if live is None else live.version) != draft.live:
            return True
        return promoted and (intended is None or intended.version != draft.snapshot.version)

    async def _back_to_file(self, gateway: str) -> None:
        """What was promoted cannot be kept: the file that could not be replaced decides again."""
        if (state := self._control.states.get(gateway)) is not None:
            state.fingerprint = None
        await self._control.publish_held(gateway)

    def _conclude(self, rollout: Rollout, result: Result, detail: str) -> None:
        revision = rollout.intent.revision
        _LOG.info(
            "rollout_ended", gateway=rollout.gateway, version=rollout.version, revision=revision,
            result=result.value, detail=detail,
        )  # fmt: skip
        if revision is None:
            return

        async def conclude() -> None:
            await self._history.conclude(revision, result, detail)

        self._later(conclude)


def intent_of(source: Change, author: str, message: str, plan: CanaryPlan | None) -> Intent:
    return Intent(source, author, message, canary_percent=None if plan is None else plan.percent)
