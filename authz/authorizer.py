"""The decision with everything around it that takes time: shared nonces, keys still to be fetched, the record."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from authz.audit import AuditEvent, AuditRecorder, AuditSink, Pseudonyms, audit_event
from authz.decision import Decision, MissingKey, NonceClaim, Refusal
from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import NonceStore, NonceStoreError
from authz.pipeline import decide
from authz.principal import NOBODY
from authz.reasons import Reason
from authz.request import Request
from authz.rules import Rules


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
        kept_versions: int = 16,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`recorder`: of what must be recorded; without one, all that is refused. `clock`: seconds since the epoch."""
        self.gateway = gateway
        self._board = board
        self._nonces = nonces
        self._audit = audit
        self._metrics = metrics
        self._pseudonyms = pseudonyms or Pseudonyms()
        self._key_finder = key_finder
        self._recorder = recorder
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

    def install(self, rules: Rules, *, candidate: bool = False) -> None:
        """Decide by these rules too, from now on. ValueError when they are another gateway's.

        `candidate`: they are tried on some Envoys, while the current ones go on beside them.
        """
        if rules.gateway != self.gateway:
            raise ValueError(f"rules of {rules.gateway!r} given to {self.gateway!r}")
        # A version that comes back (a rollback) is the newest again, and keeps its memory of tokens.
        self._rules[rules.version] = self._rules.pop(rules.version, rules)
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
        started = time.perf_counter()
        now = self._clock()
        decision = self._decide(request, now)
        finder, missing = self._key_finder, decision.missing_key
        if missing is not None and finder is not None and await finder.find(missing):
            decision = self._decide(request, now)
        if decision.claim is not None:
            decision = await self._spend(decision, decision.claim)
        decision = await self._record(request, decision, now)
        refusal, route = decision.refusal, decision.route
        self._metrics.count(
            None if route is None else route.name,
            None if refusal is None else refusal.reason,
            time.perf_counter() - started,
        )
        return decision

    def failed(self, request: Request | None) -> None:
        """A check ended in an exception: the decision was a refusal, and is counted and recorded as one."""
        self._metrics.count(None, Reason.INTERNAL_ERROR, 0.0)
        if request is not None:
            # What failed may be what the record is made of, and the refusal must not fail with it.
            with suppress(Exception):
                failure = Decision(Refusal(Reason.INTERNAL_ERROR), NOBODY)
                event = audit_event(request, failure, self._clock(), self._pseudonyms)
                self._offer(event)
                if self._recorder is not None and self._must_record(request, failure):
                    self._recorder.record(event)

    def _decide(self, request: Request, now: float) -> Decision:
        if request.defect is not None:
            return Decision(Refusal(request.defect), NOBODY)
        if request.gateway != self.gateway:
            return Decision(Refusal(Reason.GATEWAY_UNKNOWN), NOBODY)
        rules = self._rules.get(request.policy)
        if rules is None:
            return Decision(Refusal(Reason.POLICY_UNKNOWN), NOBODY)
        return decide(request, rules, self._board.current, now)

    async def _spend(self, decision: Decision, claim: NonceClaim) -> Decision:
        # A spent nonce outweighs what the checks after it said: identity comes first.
        try:
            if await self._nonces.spend(claim):
                return decision
            return replace(decision, refusal=Refusal(Reason.SIGNATURE_REPLAYED))
        except NonceStoreError as error:
            return replace(decision, refusal=Refusal(Reason.NONCE_STORE_UNAVAILABLE, str(error)))

    async def _record(self, request: Request, decision: Decision, now: float) -> Decision:
        event = audit_event(request, decision, now, self._pseudonyms)
        # On disk first, and then answered; a refusal may stand in the stream alone.
        if self._must_record(request, decision) and not await self._on_disk(event) and decision.allowed:
            decision = replace(decision, refusal=Refusal(Reason.AUDIT_UNAVAILABLE))
            event = audit_event(request, decision, now, self._pseudonyms)
        self._offer(event)
        return decision

    async def _on_disk(self, event: AuditEvent) -> bool:
        return self._recorder is not None and await self._recorder.record(event)

    def _must_record(self, request: Request, decision: Decision) -> bool:
        if decision.route is not None:
            return decision.route.audit_required
        # What names no policy that we know is recorded as the current one says.
        rules = self._rules.get(request.policy) or self._rules.get(self._current or "")
        return rules is not None and rules.audit_required

    def _offer(self, event: AuditEvent) -> None:
        if not self._audit.offer(event):
            self._metrics.audit_dropped()
