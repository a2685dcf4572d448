"""Changes that are applied: written down, tried on some Envoys first where that is asked for, and made live."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from apibank.candidates import PolicyFiles, ReadOnlyFolderError
from apibank.claims import ENDED, Claims, unless
from apibank.control_plane import ControlPlane
from apibank.policy_gate import PATIENCE_SECONDS, Knows
from apibank.published import Intent
from policy.load import Loaded
from policy.model import Gateway
from portal.policies_api import CanaryPlan
from portal.problems import Refused
from records.change_claims import ClaimedError
from records.policy_history import Change, Entry, PolicyHistory, Result
from xds.canary import CanaryOutcome, TrafficReports, Verdict, run_canary
from xds.metrics import XdsMetrics
from xds.snapshot import Snapshot

_LOG: Final = structlog.get_logger(__name__)
# How often a candidate that is tried is compared with what people save.
_LOOK_SECONDS: Final = 0.5
_SAVED: Final = "the file was saved meanwhile, and stays as it was saved"
_GONE: Final = "the file was taken away meanwhile"
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
    # The gateway's file, as whoever asked for the change could know it.
    found: str | None = None

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


def busy(error: BusyError) -> Refused:
    """What whoever asks for a change meanwhile is told."""
    return Refused(409, "rollout_running", f"another change is being made: {error}")


class Rollouts:
    """One at a time for each gateway. Whatever ends one, its candidate file is taken away."""

    def __init__(
        self,
        control: ControlPlane,
        files: PolicyFiles,
        history: PolicyHistory,
        claims: Claims,
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
        self._claims = claims
        self._later = later
        self._traffic = traffic
        self._metrics = metrics
        self._canary = canary
        self._running: dict[str, Rollout] = {}
        self._tasks: set[asyncio.Task[Ended]] = set()

    def running(self, gateway: str) -> Rollout | None:
        return self._running.get(gateway)

    async def check_none(self, gateway: str) -> None:
        """Raises BusyError where this or another control plane makes a change of it; or one of LOST_DATABASE."""
        if (rollout := self._running.get(gateway)) is not None:
            raise BusyError(str(rollout))
        if (claim := await self._claims.elsewhere(gateway)) is not None:
            raise BusyError(str(ClaimedError(gateway, claim.revision)))

    def reserve(self, gateway: str, version: str, intent: Intent) -> Rollout:
        """Take the gateway's place. Raises BusyError. `release` it, or `begin` what it was taken for."""
        if (other := self._running.get(gateway)) is not None:
            raise BusyError(str(other))
        rollout = self._running[gateway] = Rollout(gateway, version, intent)
        return rollout

    async def look(self, rollout: Rollout) -> None:
        """Take note of the gateway's file: what is saved after this is not replaced."""
        rollout.found = await self._files.found(rollout.gateway)

    def release(self, rollout: Rollout) -> None:
        if self._running.get(rollout.gateway) is rollout:
            del self._running[rollout.gateway]

    async def begin(self, rollout: Rollout, draft: Draft, plan: CanaryPlan | None) -> asyncio.Task[Ended]:
        """Write the change down and start to make it. Makes no change where it raises one of LOST_DATABASE.

        Nor where it raises BusyError: another control plane makes one.
        """
        intent = rollout.intent
        entry = Entry(
            draft.gateway, draft.version, draft.text, intent.author, intent.message, intent.source,
            datetime.now(UTC), Result.RUNNING, canary_percent=intent.canary_percent,
        )  # fmt: skip
        rollout.version = draft.version
        try:
            rollout.intent = replace(intent, revision=await self._history.begin(entry, self._claims.holder))
        except ClaimedError as error:
            raise BusyError(str(error)) from None
        task = asyncio.create_task(self._run(rollout, draft, plan))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """End what is being made, as when the process ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, rollout: Rollout, draft: Draft, plan: CanaryPlan | None) -> Ended:
        result, detail = Result.ABANDONED, ENDED
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
        detail, base = "", self._control.publisher.intended(rollout.gateway)
        if plan is not None:
            outcome = await self._try(rollout, draft, plan)
            if isinstance(outcome, Ended):
                return outcome.result, outcome.detail
            detail = outcome.detail
            if outcome.verdict is not Verdict.PASSED:
                return _RESULTS[outcome.verdict], detail
        rollout.step = "publishing"
        async with self._control.changing(rollout.gateway):
            if why := await self._superseded(rollout, draft, promoted=plan is not None):
                await self._back_to_file(draft, base)
                return Result.ABANDONED, why
            try:
                await self._files.replace(rollout.gateway, draft.text)
            except ReadOnlyFolderError:
                await self._back_to_file(draft, base)
                raise
            if not await self._control.publish_held(rollout.gateway, rollout.intent):
                return Result.REFUSED, "the file could not be published; see the gateway's status"
        return Result.LIVE, detail

    async def _try(self, rollout: Rollout, draft: Draft, plan: CanaryPlan) -> CanaryOutcome | Ended:
        """Run the candidate on some of the Envoys."""
        rollout.step = "waiting for authorization to know the candidate"
        await self._files.offer(rollout.gateway, draft.text)
        said = await self._control.gate.known(draft.loaded.gateway, max(PATIENCE_SECONDS, min(plan.within, 10.0)))
        if lacking := ", ".join(place for place, knows in said.items() if knows is not Knows.YES):
            why = f"authorization at {lacking} does not decide by the candidate, so its Envoys would refuse everybody"
            return Ended(Result.HALTED, why)
        self._control.about_to_serve(draft.loaded.gateway)
        rollout.step = f"canary on {plan.percent} % of the Envoys"
        self._metrics.canary_running(rollout.gateway, max(1, self._nodes(rollout.gateway) * plan.percent // 100))
        outcome: CanaryOutcome | Ended | None = None
        try:
            trial = self._canary(
                self._control.publisher,
                rollout.gateway,
                draft.snapshot,
                plan.percent,
                soak=plan.soak,
                within=plan.within,
                traffic=self._traffic,
            )
            outcome = await unless(unless(trial, self._saved(rollout)), self._lost(rollout))
        finally:
            self._metrics.canary_running(rollout.gateway, 0)
            verdict = outcome.verdict if isinstance(outcome, CanaryOutcome) else Verdict.ABANDONED
            self._metrics.canary_ended(rollout.gateway, verdict.value)
        return outcome

    async def _lost(self, rollout: Rollout) -> Ended:
        """Returns when another control plane has taken this one for dead."""
        if rollout.intent.revision is not None:
            await self._claims.lost(rollout.gateway, rollout.intent.revision)
        return Ended(Result.ABANDONED, "the database was away for too long, and another control plane gave it up")

    async def _saved(self, rollout: Rollout) -> Ended:
        """Returns when the gateway's file is another than it was, also one that is broken and not published."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if why := await self._saved_meanwhile(rollout):
                return Ended(Result.ABANDONED, why)

    async def _saved_meanwhile(self, rollout: Rollout) -> str:
        """What has become of the gateway's file since the change was asked for; nothing, where it is the same."""
        found = await self._files.found(rollout.gateway)
        if found == rollout.found:
            return ""
        return _GONE if found is None else _SAVED

    def _nodes(self, gateway: str) -> int:
        return self._control.publisher.nodes.count(gateway)

    async def _superseded(self, rollout: Rollout, draft: Draft, *, promoted: bool) -> str:
        """What else was saved or published since the draft was made, or since it was promoted; else nothing."""
        if why := await self._saved_meanwhile(rollout):
            return why
        live, intended = self._control.policy_of(draft.gateway), self._control.publisher.intended(draft.gateway)
        if (None if live is None else live.version) != draft.live:
            return _SAVED
        return _SAVED if promoted and (intended is None or intended.version != draft.snapshot.version) else ""

    async def _back_to_file(self, draft: Draft, base: Snapshot | None) -> None:
        """What was promoted cannot be kept: the file decides again, or what was live where that is broken."""
        name, publisher = draft.gateway, self._control.publisher
        if (state := self._control.states.get(name)) is not None:
            state.fingerprint = None
        if not await self._control.publish_held(name):
            intended = publisher.intended(name)
            if base is not None and intended is not None and intended.version == draft.snapshot.version:
                publisher.set_snapshot(name, base)

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
