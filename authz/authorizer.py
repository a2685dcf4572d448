"""The decision with everything around it: the count, the record, and what a few decisions have to wait for.

Most checks are settled at once. Those that need a shared nonce, a key still to be fetched or a record on disk are
handed back unsettled, so that whoever has many of them lets them wait together (docs/adr/0022).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from authz.audit import AuditEvent, AuditRecorder, AuditSink, Pseudonyms, audit_event
from authz.decision import Decision, MissingKey, Refusal
from authz.facts import FactsBoard
from authz.failures import Failures
from authz.limits import Counted, Counting, Limits, as_counted, counting
from authz.metrics import AuthzMetrics
from authz.modes import in_mode
from authz.nonces import NonceStore, NonceStoreError
from authz.pipeline import decide
from authz.principal import NOBODY, Kind
from authz.reasons import Reason
from authz.request import Request
from authz.rules import RouteRules, Rules
from authz.samples import Sampler
from authz.unsettled import Awaited, Unsettled
from policy.modes import Mode

GIVEN_UP = "given up by whoever asked"


class KeyFinder(Protocol):
    """Where keys that a token names and nobody knows yet may come from."""

    async def find(self, missing: MissingKey) -> bool:
        """Whether the key is known now. Soon over, however many ask and however often."""
        ...


class Authorizer:
    """Decides the checks of one gateway under any of its latest policy versions.

    While a new policy travels to Envoy, some checks still name the one before it, and while a candidate is tried, some
    name that: `kept_versions` of them are kept, and a check that names another is refused.
    """

    def __init__(
        self,
        gateway: str,
        *,
        board: FactsBoard,
        nonces: NonceStore,
        audit: AuditSink,
        metrics: AuthzMetrics,
        pseudonyms: Pseudonyms | None = None,
        key_finder: KeyFinder | None = None,
        recorder: AuditRecorder | None = None,
        failures: Failures | None = None,
        sampler: Sampler | None = None,
        limits: Limits | None = None,
        kept_versions: int = 16,
        clock: Callable[[], float] = time.time,
        counter: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`recorder`: of what must be recorded; without one, all that is refused. `failures`: of credentials.

        `limits`: who counts where a policy has its Checks counted; without one, all that is refused.

        `clock`: seconds since the epoch. `counter`: seconds since whenever, which durations are taken from.
        """
        self.gateway = gateway
        self.counter = counter
        self._board = board
        self._nonces = nonces
        self._audit = audit
        self._metrics = metrics
        self._pseudonyms = pseudonyms or Pseudonyms()
        self._key_finder = key_finder
        self._recorder = recorder
        # One that has counted nothing yet is empty, and so false.
        self._failures = Failures() if failures is None else failures
        self._sampler = sampler
        self._limits = limits
        self._kept_versions = kept_versions
        self._clock = clock
        self._rules: dict[str, Rules] = {}
        # Neither makes room for others, however many candidates come and go.
        self._current: str | None = None
        self._candidate: str | None = None

    @property
    def versions(self) -> tuple[str, ...]:
        """Policy versions that are decided by, the newest last."""
        return tuple(self._rules)

    def decides_by(self, version: str) -> bool:
        return version in self._rules

    def install(self, rules: Rules, *, candidate: bool = False) -> None:
        """Decide by these rules too, from now on. ValueError when they are another gateway's.

        `candidate`: they are tried on some Envoys, while the current ones go on beside them.
        """
        if rules.gateway != self.gateway:
            raise ValueError(f"rules of {rules.gateway!r} given to {self.gateway!r}")
        asked_by = {self._current, self._candidate, rules.version}
        # A version that comes back (a rollback) is the newest again, and keeps what it has of its memory of tokens.
        self._rules[rules.version] = self._rules.pop(rules.version, rules)
        for version, one in self._rules.items():
            if version not in asked_by:
                # Hardly anybody does by these any more, and nothing else would free their memories of tokens.
                one.verified.clear()
        if candidate:
            self._candidate = rules.version
        else:
            self._current = rules.version
        standing = (self._current, self._candidate)
        for version in [one for one in self._rules if one not in standing]:
            if len(self._rules) <= self._kept_versions:
                break
            del self._rules[version]

    async def authorize(self, request: Request) -> Decision:
        """Decides one request, spends its nonce, counts and records the outcome."""
        outcome = self.begin(request, self.counter())
        if isinstance(outcome, Decision):
            return outcome
        (settled,) = await self.settle([outcome])
        if isinstance(settled, Exception):
            raise settled
        return settled

    def begin(self, request: Request, started: float) -> Decision | Unsettled:
        """Decides one request, counts and records the outcome; or says what has to be waited for, in `settle`."""
        now = self._clock()
        decision = self._decide(request, now)
        if decision.claim is not None:
            return Unsettled(request, decision, now, started, Awaited.NONCE)
        if decision.missing_key is not None and self._key_finder is not None:
            return Unsettled(request, decision, now, started, Awaited.KEY)
        return self._conclude(request, decision, now, started)

    async def settle(self, waiting: Sequence[Unsettled]) -> list[Decision | Exception]:
        """How each of these checks ends, or what went wrong with it alone.

        All their nonces are spent in one step. Nobody need wait for the slowest: settle them in groups of one kind.
        """
        lost: dict[Unsettled, Exception] = {}
        await self._find_keys([each for each in waiting if each.awaited is Awaited.KEY], lost)
        await self._spend([each for each in waiting if each.awaited is Awaited.NONCE and each not in lost], lost)
        ends = [self._ended(each, lost) for each in waiting]
        await self._count(
            [each for each in ends if isinstance(each, Unsettled) and each.awaited is Awaited.COUNT], lost
        )
        ends = [self._counted(each, lost) if isinstance(each, Unsettled) else each for each in ends]
        recording = [each for each in ends if isinstance(each, Unsettled)]
        kept = iter(await asyncio.gather(*(_kept(each) for each in recording), return_exceptions=True))
        settled = [self._recorded(each, next(kept)) if isinstance(each, Unsettled) else each for each in ends]
        await self._give_back(waiting, settled)
        return settled

    def failed(self, request: Request | None, cause: str = "") -> Decision:
        """A check came to no end of its own: the decision was a refusal, and is counted and recorded as one."""
        self._metrics.count(None, Reason.INTERNAL_ERROR, 0.0)
        failure = Decision(Refusal(Reason.INTERNAL_ERROR, cause), NOBODY)
        if request is not None:
            # What failed may be what the record is made of, and the refusal must not fail with it.
            with suppress(Exception):
                event = audit_event(request, failure, self._clock(), self._pseudonyms)
                self._offer(event)
                if self._recorder is not None and self._must_record(request, failure):
                    self._recorder.record(event)
        return failure

    def _decide(self, request: Request, now: float) -> Decision:
        if request.defect is not None:
            return Decision(Refusal(request.defect), NOBODY)
        if request.gateway != self.gateway:
            return Decision(Refusal(Reason.GATEWAY_UNKNOWN), NOBODY)
        rules = self._rules.get(request.policy)
        if rules is None:
            return Decision(Refusal(Reason.POLICY_UNKNOWN), NOBODY)
        return decide(request, rules, self._board.current, now)

    async def _find_keys(self, waiting: Sequence[Unsettled], lost: dict[Unsettled, Exception]) -> None:
        finder = self._key_finder
        if not waiting or finder is None:
            return
        missing = dict.fromkeys(each.decision.missing_key for each in waiting if each.decision.missing_key is not None)
        answers = await asyncio.gather(*(finder.find(each) for each in missing), return_exceptions=True)
        found = dict(zip(missing, answers, strict=True))
        for each in waiting:
            answer = None if each.decision.missing_key is None else found[each.decision.missing_key]
            if isinstance(answer, BaseException):
                lost[each] = _as_exception(answer)
            elif answer:
                try:
                    each.decision = self._decide(each.request, each.now)
                except Exception as error:  # noqa: BLE001 one check's fault is no other's
                    lost[each] = error
                if each.decision.claim is not None:
                    each.awaited = Awaited.NONCE

    async def _spend(self, waiting: Sequence[Unsettled], lost: dict[Unsettled, Exception]) -> None:
        claims = [each.decision.claim for each in waiting if each.decision.claim is not None]
        if not claims:
            return
        try:
            outcomes = await self._nonces.spend_many(claims)
            pairs = list(zip(waiting, outcomes, strict=True))
        except Exception as error:  # noqa: BLE001 nobody knows which of them were unspent
            lost.update(dict.fromkeys(waiting, error))
            return
        for each, unspent in pairs:
            # A spent nonce outweighs what the checks after it said: identity comes first.
            if isinstance(unspent, NonceStoreError):
                refusal = Refusal(Reason.NONCE_STORE_UNAVAILABLE, str(unspent))
                each.decision = replace(each.decision, refusal=refusal)
            elif unspent is not True:
                each.decision = replace(each.decision, refusal=Refusal(Reason.SIGNATURE_REPLAYED))

    def _ended(self, each: Unsettled, lost: dict[Unsettled, Exception]) -> Decision | Unsettled | Exception:
        if each in lost:
            return lost[each]
        if each.awaited is Awaited.RECORD:
            return each
        if each.given_up:
            each.counting = None
            return self.failed(each.request, GIVEN_UP)
        if each.awaited is Awaited.COUNT:
            return each
        try:
            end = self._conclude(each.request, each.decision, each.now, each.started)
        except Exception as error:  # noqa: BLE001 one check's fault is no other's
            return error
        return each.goes_on(end) if isinstance(end, Unsettled) else end

    async def _count(self, waiting: Sequence[Unsettled], lost: dict[Unsettled, Exception]) -> None:
        asked = [each.counting for each in waiting if each.counting is not None]
        if self._limits is None or not asked:
            return
        try:
            outcomes = await self._limits.count(asked)
            for each, counted in zip(waiting, outcomes, strict=True):
                each.decision = as_counted(each.request, each.decision, counted)
                each.counting = each.counting if counted.charged else None
        except Exception as error:  # noqa: BLE001 nobody knows which of them were counted
            for each in waiting:
                each.counting, lost[each] = None, error

    def _counted(self, each: Unsettled, lost: dict[Unsettled, Exception]) -> Decision | Unsettled | Exception:
        if each in lost:
            return lost[each]
        if each.awaited is Awaited.RECORD:
            return each
        if each.given_up:
            return self.failed(each.request, GIVEN_UP)
        try:
            end = self._record(each.request, each.decision, each.now, each.started, each.counting)
        except Exception as error:  # noqa: BLE001 one check's fault is no other's
            return error
        return each.goes_on(end) if isinstance(end, Unsettled) else end

    async def _give_back(self, waiting: Sequence[Unsettled], ends: Sequence[Decision | Exception]) -> None:
        """What was charged for a request that passed, and then was given up or could not be recorded."""
        vain = [
            each.counting
            for each, end in zip(waiting, ends, strict=True)
            if each.counting is not None and not (isinstance(end, Decision) and end.allowed)
        ]
        if self._limits is not None and vain:
            # Where it cannot be undone, a caller has one request less.
            with suppress(Exception):
                await self._limits.give_back(vain)

    def _conclude(self, request: Request, decision: Decision, now: float, started: float) -> Decision | Unsettled:
        if decision.route is not None and decision.route.mode is not Mode.ENFORCE:
            # Ahead of what counts failures: what is not refused is not held against an address.
            decision = in_mode(request, decision)
        rules = None if decision.refusal is None else self._rules.get(request.policy)
        if rules is not None:
            decision = self._failures.judge(request, decision, rules.failures)
        if self._sampler is not None and decision.route is not None and decision.route.sampled:
            self._sampler.take(request, decision, self._rules[request.policy], now)
        if self._recorder is None and self._must_record(request, decision):
            return self._unrecorded(request, decision, now, started)
        route = decision.route
        if route is None or not route.limits or decision.refusal is not None:
            return self._record(request, decision, now, started)
        asked = counting(request, route, decision.principal)
        if self._limits is None:
            counted: Counted | None = Counted(Refusal(Reason.LIMITS_UNAVAILABLE, cause="nobody counts here"))
        else:
            counted = self._limits.count_now(asked)
        if counted is None:
            return Unsettled(request, decision, now, started, Awaited.COUNT, asked)
        return self._record(
            request, as_counted(request, decision, counted), now, started, asked if counted.charged else None
        )

    def _record(
        self, request: Request, decision: Decision, now: float, started: float, asked: Counting | None = None
    ) -> Decision | Unsettled:
        event = audit_event(request, decision, now, self._pseudonyms)
        if self._recorder is not None and self._must_record(request, decision):
            # On disk first, and then answered; a refusal may stand in the stream alone.
            kept = self._recorder.record(event)
            return Unsettled(request, decision, now, started, Awaited.RECORD, asked, kept)
        return self._told(event, decision, started)

    def _recorded(self, each: Unsettled, kept: bool | BaseException) -> Decision | Exception:
        if isinstance(kept, BaseException):
            return _as_exception(kept)
        if each.given_up:
            return self.failed(each.request, GIVEN_UP)
        try:
            if kept is not True:
                return self._unrecorded(each.request, each.decision, each.now, each.started)
            event = audit_event(each.request, each.decision, each.now, self._pseudonyms)
            return self._told(event, each.decision, each.started)
        except Exception as error:  # noqa: BLE001 one check's fault is no other's
            return error

    def _unrecorded(self, request: Request, decision: Decision, now: float, started: float) -> Decision:
        if decision.allowed:
            decision = replace(decision, refusal=Refusal(Reason.AUDIT_UNAVAILABLE))
        return self._told(audit_event(request, decision, now, self._pseudonyms), decision, started)

    def _told(self, event: AuditEvent, decision: Decision, started: float) -> Decision:
        self._offer(event)
        refusal, route = decision.refusal, decision.route
        self._metrics.count(
            None if route is None else route.name,
            None if refusal is None else refusal.code,
            self.counter() - started,
        )
        if route is not None:
            for each in decision.shadowed:
                self._metrics.shadowed(route.name, each.reason, each.rule)
            if refusal is None and route.mode is not Mode.ENFORCE:
                self._count_mode(route, decision)
        return decision

    def _count_mode(self, route: RouteRules, decision: Decision) -> None:
        if decision.waived is not None:
            self._metrics.shadowed(route.name, decision.waived.reason)
        elif route.mode is Mode.OFF:
            self._metrics.passed_unasked(route.name)
        elif route.mode is Mode.OPTIONAL and decision.principal.kind is Kind.ANONYMOUS and not route.public:
            self._metrics.passed_unknown(route.name)

    def _must_record(self, request: Request, decision: Decision) -> bool:
        if decision.route is not None:
            return decision.route.audit_required
        # What names no policy that we know is recorded as the current one says.
        rules = self._rules.get(request.policy) or self._rules.get(self._current or "")
        return rules is not None and rules.audit_required

    def _offer(self, event: AuditEvent) -> None:
        if not self._audit.offer(event):
            self._metrics.audit_dropped()


async def _kept(each: Unsettled) -> bool:
    return each.kept is not None and await each.kept


def _as_exception(error: BaseException) -> Exception:
    # Whatever ended it, a cancelled wait among them, is no success of the check.
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
