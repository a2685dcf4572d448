"""Counters in a Redis or Valkey cluster: a store per slot in use, each on the node that has it.

All counters of a domain carry its name as their hash tag (ratelimit.matching.counter_key), so a request's counters
lie in one slot, and one script charges them all or none: as exact as on one server, at the price that a gateway's
counters share one node (docs/adr/0032).
"""

import asyncio
from binascii import crc_hqx
from collections.abc import Callable, Sequence
from typing import Final

from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, Loss, Outcome, Reading, Unavailable

_SLOTS: Final = 16_384


def slot_of(key: bytes) -> int:
    """The key's slot: CRC-16/XMODEM of what stands between its first braces, or of all of it (Redis Cluster)."""
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    return crc_hqx(key[start + 1 : end] if 0 <= start < end - 1 else key, 0) % _SLOTS


class ClusterStore:
    """A request whose keys lie in several slots is not charged: Unavailable(REFUSED)."""

    def __init__(self, store_of: Callable[[int], RedisStore]) -> None:
        """`store_of`: a store for the node that has a slot."""
        self._store_of = store_of
        self._stores: dict[int, RedisStore] = {}

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        store = self._one(charges)
        return Unavailable(Loss.REFUSED) if store is None else await store.charge(charges)

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        stores = [self._one(charges) for charges in requests]
        if len(found := set(stores)) == 1 and (only := stores[0]) is not None:
            return await only.charge_many(requests)
        results: list[Outcome | Unavailable] = [Unavailable(Loss.REFUSED)] * len(requests)

        async def charge_in(store: RedisStore) -> None:
            mine = [index for index, other in enumerate(stores) if other is store]
            outcomes = await store.charge_many([requests[index] for index in mine])
            for index, outcome in zip(mine, outcomes, strict=True):
                results[index] = outcome

        await asyncio.gather(*(charge_in(store) for store in found if store is not None))
        return results

    def charge_now(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable] | None:
        results: list[Outcome | Unavailable] = []
        for charges in requests:
            store = self._one(charges)
            outcomes = [Unavailable(Loss.REFUSED)] if store is None else store.charge_now((charges,))
            if outcomes is None:
                return None
            results += outcomes
        return results

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading] | Unavailable:
        by_slot: dict[int, list[int]] = {}
        for index, charge in enumerate(charges):
            by_slot.setdefault(slot_of(charge.key), []).append(index)
        readings: dict[int, Reading] = {}
        for slot, mine in by_slot.items():
            found = await self._at(slot).peek([charges[index] for index in mine])
            if isinstance(found, Unavailable):
                return found
            readings.update(zip(mine, found, strict=True))
        return [readings[index] for index in range(len(charges))]

    async def ready(self) -> bool:
        """Whether the nodes of all slots in use would decide."""
        stores = list(self._stores.values()) or [self._at(0)]
        return all(await asyncio.gather(*(store.ready() for store in stores)))

    async def close(self) -> None:
        await asyncio.gather(*(store.close() for store in self._stores.values()))

    @property
    def parts(self) -> Sequence[RedisStore]:
        """The stores of the slots in use."""
        return list(self._stores.values())

    def _one(self, charges: Sequence[Charge]) -> RedisStore | None:
        slots = {slot_of(charge.key) for charge in charges} or {0}
        return self._at(slots.pop()) if len(slots) == 1 else None

    def _at(self, slot: int) -> RedisStore:
        store = self._stores.get(slot)
        if store is None:
            store = self._stores[slot] = self._store_of(slot)
        return store
