"""Credentials that fail, counted per client address: guessing is slow, and whoever has a good one notices nothing.

Only a credential that failed is counted, and only one that failed is refused for the count (attack A59): an address
that many share cannot be closed to all of them by one. No check waits for the replicas' common count: what this
process has seen is exchanged with it a few times a second.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Final, Protocol

import structlog

from authz.addresses import counted, read_address
from authz.decision import Decision, Refusal
from authz.reasons import Reason
from authz.request import Request
from authz.rules import FailureRules
from policy.descriptors import CLIENT_ADDRESS_HEADER

# What can be guessed at. A token that is too old, or a signature that was used before, was a good one.
GUESSES: Final = frozenset({Reason.TOKEN_INVALID, Reason.KEY_INVALID, Reason.SIGNATURE_INVALID})
WINDOW_SECONDS: Final = 60.0
EXCHANGE_SECONDS: Final = 0.25
# Addresses that the others are told of at a time, between which checks have their turn; and how often each time.
TOLD_AT_ONCE: Final = 32
_ROUNDS: Final = 4
_SWEPT_AT_ONCE: Final = 64
_LOG: Final = structlog.get_logger(__name__)


class FailureStoreError(Exception):
    """The store does not say how often addresses have failed."""


class FailureStore(Protocol):
    """The common count of a gateway's replicas, in windows of a minute from an address's first failure."""

    async def add(self, failures: Mapping[str, int]) -> Mapping[str, int]:
        """Add these to what their addresses have had; all that they have had. Raises FailureStoreError."""
        ...


class Failures:
    """The failures of each address, in windows of a minute that begin with its first.

    Bounded: the oldest window goes first, so that many addresses cost no more than `capacity` of them.
    """

    _CAPACITY: Final = 65_536

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = _CAPACITY) -> None:
        """`clock`: seconds that only grow."""
        self._clock = clock
        self._capacity = capacity
        # address -> the window's end and its count. All windows are equally long, so the order is that of their ends.
        # No plain dictionary: the first of one whose first entries have left is found by looking at each of those.
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        # Those that the other replicas have not been told of: failures of addresses that have failed once since, and of
        # those that went on, which matter more.
        self._untold: OrderedDict[str, int] = OrderedDict()
        self._insistent: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._windows)

    def judge(self, request: Request, decision: Decision, rules: FailureRules) -> Decision:
        """The decision, or where it refuses one failed credential too many, the same as a 429."""
        refusal = decision.refusal
        if refusal is None or refusal.reason not in GUESSES:
            return decision
        address = read_address(request.headers.get(CLIENT_ADDRESS_HEADER, ""))
        if rules.exempt.admits(address):
            return decision
        wait = self.count(counted(address), rules.per_minute)
        if not wait:
            return decision
        late = Refusal(Reason.TOO_MANY_FAILURES, cause=refusal.reason.value, retry_after=max(1, -int(-wait // 1)))
        return replace(decision, refusal=late)

    def count(self, address: str, most: int) -> float:
        """Count one; 0.0 where it was among the first `most`, else the seconds to the end of the window."""
        now = self._clock()
        self._sweep(now)
        end, failures = self._window(address, now)
        if failures >= most:
            return end - now
        self._put(address, end, failures + 1)
        untold = self._untold.pop(address, 0) + self._insistent.get(address, 0) + 1
        (self._untold if failures == 0 else self._insistent)[address] = untold
        return 0.0

    def take_untold(self, most: int = TOLD_AT_ONCE) -> Mapping[str, int]:
        """What was counted and is to be told to the other replicas now, of so many addresses; the rest comes later."""
        told: dict[str, int] = {}
        for waiting in (self._insistent, self._untold):
            while waiting and len(told) < most:
                address, count = waiting.popitem(last=False)
                told[address] = count
        return told

    def hear(self, failures: Mapping[str, int]) -> None:
        """What all replicas together have counted: never less than was known here."""
        now = self._clock()
        for address, total in failures.items():
            end, known = self._window(address, now)
            if total > known:
                self._put(address, end, total)

    def _window(self, address: str, now: float) -> tuple[float, int]:
        found = self._windows.get(address)
        if found is not None and found[0] > now:
            return found
        if found is not None:
            self._forget(address)
        return now + WINDOW_SECONDS, 0

    def _put(self, address: str, end: float, failures: int) -> None:
        if address not in self._windows and len(self._windows) >= self._capacity:
            self._forget(next(iter(self._windows)))
        self._windows[address] = end, failures

    def _sweep(self, now: float) -> None:
        # More than comes with each, and few enough for nobody to wait: what has ended counts for nothing anyway.
        for _ in range(_SWEPT_AT_ONCE):
            oldest = next(iter(self._windows), None)
            if oldest is None or self._windows[oldest][0] > now:
                return
            self._forget(oldest)

    def _forget(self, address: str) -> None:
        del self._windows[address]
        self._untold.pop(address, None)
        self._insistent.pop(address, None)


async def exchange(failures: Failures, store: FailureStore, stop: asyncio.Event) -> None:
    """Count together with the other replicas until stopped. While the store is away, each goes by its own count."""
    away = False
    while not stop.is_set():
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await stop.wait()
        except TimeoutError:
            pass
        try:
            for _ in range(_ROUNDS):
                untold = failures.take_untold()
                if not untold:
                    break
                failures.hear(await store.add(untold))
                away = False
        except Exception as error:  # noqa: BLE001 to count together is a help, and whatever spoils it must end nothing else
            if not away:
                why = str(error) if isinstance(error, FailureStoreError) else type(error).__name__
                _LOG.warning("failures_not_shared", error=why)
            away = True
