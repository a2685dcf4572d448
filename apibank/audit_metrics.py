"""The durable audit's figures, as Prometheus reads them."""

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from records.audit_figures import AuditFigures
from records.audit_spool import Spool

_LABELS: Final = ("gateway",)


class AuditCollector(Collector):
    """Reads the figures when it is asked."""

    def __init__(
        self, gateway: str, figures: AuditFigures, spool: Callable[[], Spool | None], clock: Callable[[], float]
    ) -> None:
        """`spool` is None while there is none. `clock`: seconds since the epoch."""
        self._gateway = gateway
        self._figures = figures
        self._spool = spool
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Every figure once."""
        figures, spool = self._figures, self._spool()
        since = None if spool is None else spool.oldest_since
        yield self._counter("apibank_audit_kept", "Events on disk in the spool.", figures.kept)
        yield self._counter("apibank_audit_stored", "Events whose rows are in the database.", figures.stored)
        lost = CounterMetricFamily(
            "apibank_audit_dropped",
            "Events that had to be kept and could not be in time; their requests were refused.",
            labels=(*_LABELS, "reason"),
        )
        for reason, count in figures.lost.items():
            lost.add_metric((self._gateway, reason), count)
        yield lost
        unread = CounterMetricFamily(
            "apibank_audit_unreadable",
            "Events of the spool that were not whole or that the database refuses; their files are kept.",
            labels=(*_LABELS, "kind"),
        )
        kinds = {"torn": figures.torn, "damaged": figures.damaged, "set_aside": figures.set_aside}
        for kind, count in kinds.items():
            unread.add_metric((self._gateway, kind), count)
        yield unread
        yield self._counter(
            "apibank_audit_store_failures", "Attempts to store events that failed.", figures.failures
        )  # fmt: skip
        yield self._gauge(
            "apibank_audit_spool_bytes", "Size of the spool's files.", 0 if spool is None else spool.bytes_on_disk
        )
        yield self._gauge(
            "apibank_audit_spool_free_ratio",
            "The share of the spool that is free, from 0 to 1; 1 while there is none.",
            1.0 if spool is None else spool.room,
        )
        yield self._gauge(
            "apibank_audit_oldest_unsent_seconds",
            "Age of the oldest event that waits for the database; 0 where none waits.",
            0.0 if since is None else max(0.0, self._clock() - since),
        )
        yield self._gauge(
            "apibank_audit_chain_broken", "1 where the chain no longer leads over its last anchor.", figures.broken
        )

    def _counter(self, name: str, text: str, value: int) -> Metric:
        family = CounterMetricFamily(name, text, labels=_LABELS)
        family.add_metric((self._gateway,), value)
        return family

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        family.add_metric((self._gateway,), value)
        return family
