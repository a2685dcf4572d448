"""Nonces of signatures: each is spent once, by whichever replica of the gateway sees it first."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Protocol

from authz.decision import NonceClaim

_SWEPT_AT_ONCE: Final = 256


class NonceStoreError(Exception):
    """The store cannot say whether a nonce is unspent, so the request that carries it cannot be admitted."""


class NonceStore(Protocol):
    """Where spent nonces are kept, for as long as the signature that carried one could be shown again."""

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        """For each, in their order: whether the nonce was unspent, and it is spent now; or that nobody can say.

        However many they are, they cost one round trip.
        """
        ...


def one_of(outcomes: Sequence[bool | NonceStoreError]) -> bool:
    """What came of the only claim. Raises NonceStoreError."""
    (outcome,) = outcomes
    if isinstance(outcome, NonceStoreError):
        raise outcome
    return outcome


class MemoryNonceStore:
    """Nonces of one process: for a gateway that has no replicas. Full means unsure, so it is an error."""

    _CAPACITY: Final = 2_000_000

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        # In the order of their ends, as long as all are kept equally long; a late end only delays the sweep.
        # No plain dictionary: the first of one whose first entries have left is found by looking at each of those.
        self._until: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    async def spend(self, claim: NonceClaim) -> bool:
        """Whether the nonce was unspent; it is spent afterwards. Raises NonceStoreError."""
        return one_of(await self.spend_many((claim,)))

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        now = self._clock()
        self._sweep(now)
        return [self._spend(claim, now) for claim in claims]

    def _spend(self, claim: NonceClaim, now: float) -> bool | NonceStoreError:
        nonce = (claim.key_id, claim.nonce)
        if self._until.get(nonce, now) > now:
            return False
        if len(self._until) >= self._capacity:
            return NonceStoreError("full")
        self._until.pop(nonce, None)
        self._until[nonce] = now + claim.seconds
        return True

    def _sweep(self, now: float) -> None:
        # More than come at a time, and few enough for nobody to wait: what has ended is as good as gone.
        for _ in range(_SWEPT_AT_ONCE):
            oldest = next(iter(self._until), None)
            if oldest is None or self._until[oldest] > now:
                return
            del self._until[oldest]
