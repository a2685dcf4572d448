"""Figures of a counter store, read when they are asked for."""

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ratelimit.cluster_store import ClusterStore
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import CounterStore

_NEAR: Final = "apibank_ratelimit_near_refusals"


class StoreMetrics(Collector):
    """Of a store in memory its counters; of one elsewhere, what it was not asked, and whether it is lost."""

    def __init__(self, store: CounterStore) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        store = self._store
        if isinstance(store, MemoryStore):
            yield GaugeMetricFamily("apibank_ratelimit_counters", "Counters in memory.", len(store))
            return
        parts = store.parts if isinstance(store, ClusterStore) else (store,) if isinstance(store, RedisStore) else ()
        near = sum(part.near_refusals for part in parts)
        yield CounterMetricFamily(
            _NEAR, "Requests that were refused without asking the store, which had just refused the like of them.", near
        )
        lost = any(part.lost for part in parts)
        yield GaugeMetricFamily("apibank_ratelimit_store_lost", "Whether the store did not decide the last time.", lost)
