"""Nonces of signatures: each is spent once, by whichever replica of the gateway sees it first."""

from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from authz.decision import NonceClaim


class NonceStoreError(Exception):
    """The store cannot say whether a nonce is unspent, so the request that carries it cannot be admitted."""


class NonceStore(Protocol):
    """Where spent nonces are kept, for as long as the signature that carried one could be shown again."""

    async def spend(self, claim: NonceClaim) -> bool:
        """Whether the nonce was unspent; it is spent afterwards. Raises NonceStoreError."""
        ...


class MemoryNonceStore:
    """Nonces of one process: for a gateway that has no replicas. Full means unsure, so it is an error."""

    _CAPACITY: Final = 2_000_000

    def __init__(self, clock: Callable[[], float] = monotonic, capacity: int = _CAPACITY) -> None:
        self._clock = clock
        self._capacity = capacity
        # In the order of their ends, as long as all are kept equally long; a late end only delays the sweep.
        self._until: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._until)

    async def spend(self, claim: NonceClaim) -> bool:
        now = self._clock()
        self._sweep(now)
        nonce = (claim.key_id, claim.nonce)
        if self._until.get(nonce, now) > now:
            return False
        if len(self._until) >= self._capacity:
            raise NonceStoreError("full")
        self._until.pop(nonce, None)
        self._until[nonce] = now + claim.seconds
        return True

    def _sweep(self, now: float) -> None:
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > now:
                return
            del self._until[oldest]
