"""The telemetry service: what Envoys tell of requests, kept as usage, as a log of requests, and as traces."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

import structlog

import telemetry.access_log.server
import telemetry.traces.server
from apibank.audit_trail import subject_key
from apibank.observed import listener_of, observed_app, process_registry
from apibank.web import serve_web
from authz.audit import Pseudonyms, redacted
from records.database import Database
from records.errors import LOST_DATABASE
from records.request_log import RequestLog
from records.traces import Traces
from records.upgrade import upgrade
from records.usage import Counts, Key, Scope, Usage
from telemetry.access_log.collector import AccessLogCollector
from telemetry.access_log.histogram import from_text, merged, to_text
from telemetry.access_log.metrics import AccessLogMetrics
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import Figures, UsageKey
from telemetry.access_log.window import Window
from telemetry.traces.collector import TraceCollector
from telemetry.traces.metrics import TraceMetrics
from telemetry.traces.span import Span

_LOG: Final = structlog.get_logger(__name__)
# What a service that is killed has not written yet.
_FLUSH_SECONDS: Final = 1.0
_TIDY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class TelemetryService:
    """What the service is told when it starts.

    `log_days` and `log_rows`: how long, and how many requests are kept; `trace_spans`: how many spans, for as long.
    """

    listen: str
    metrics_listen: str
    database: str
    key_file: Path
    exposed: bool = False
    log_days: float = 7.0
    log_rows: int = 1_000_000
    trace_spans: int = 200_000


async def run_telemetry(service: TelemetryService, stop: asyncio.Event) -> None:
    """Serve until stopped, and write what has been told by then. Raises OSError or ValueError where it cannot start."""
    registry = process_registry()
    async with AsyncExitStack() as held:
        await upgrade(service.database)
        database = await held.enter_async_context(Database(service.database))
        store = Store(Usage(database), RequestLog(database))
        pseudonyms = Pseudonyms(subject_key(service.key_file))
        collector = AccessLogCollector(AccessLogMetrics(registry), Window(time.time), pseudonyms.of, redacted)
        traces, spans = Traces(database), TraceCollector(TraceMetrics(registry), redacted)
        running = await telemetry.access_log.server.serve(
            collector, service.listen, exposed=service.exposed, beside=[telemetry.traces.server.handler(spans)]
        )
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_flush("access_log_not_written", partial(collector.flush, store.keep), ended))
            tasks.create_task(_flush("spans_not_written", partial(spans.flush, partial(_add, traces)), ended))
            tasks.create_task(_tidy(store, traces, service, ended))
            tasks.create_task(
                serve_web([listener_of(observed_app(registry, store.ready), service.metrics_listen)], stop)
            )
            await stop.wait()
            await running.stop()
            ended.set()


class Store:
    """Usage and requests in the database: of each flush both are there, or neither."""

    def __init__(self, usage: Usage, log: RequestLog) -> None:
        self.usage, self.log = usage, log
        self._lost = False

    async def keep(self, records: Sequence[AccessRecord], figures: Mapping[UsageKey, Figures]) -> int:
        try:
            refused = await self.usage.add(_rows(figures), [asdict(record) for record in records])
        except LOST_DATABASE:
            self._lost = True
            raise
        self._lost = False
        return refused

    async def ready(self) -> bool:
        """Whether the database took what was told last."""
        return not self._lost


def _rows(figures: Mapping[UsageKey, Figures]) -> Mapping[Key, Counts]:
    """Each minute of a caller as it is, and added to that of all callers."""
    of_all: dict[Key, Figures] = {}
    rows: dict[Key, Counts] = {}
    for key, one in figures.items():
        rows[Key(key.start, Scope.CALLER, *key[1:])] = _counts(one)
        whole = Key(key.start, Scope.ALL, key.gateway, key.route, "", "", key.tier, key.status)
        of_all.setdefault(whole, Figures()).add(one)
    return {**rows, **{key: _counts(one) for key, one in of_all.items()}}


def _counts(one: Figures) -> Counts:
    return Counts(one.requests, one.failed, one.octets_in, one.octets_out, one.duration, to_text(one.histogram))


def merge(histograms: Sequence[str]) -> str:
    """The sum of histograms that are kept as text."""
    return to_text(merged(map(from_text, histograms)))


async def _add(traces: Traces, spans: Sequence[Span]) -> int:
    return await traces.add([asdict(span) for span in spans])


async def _flush(otherwise: str, flush: Callable[[], Awaitable[None]], ended: asyncio.Event) -> None:
    while True:
        last = await _passed(ended, _FLUSH_SECONDS)
        try:
            await flush()
        except LOST_DATABASE as error:
            _LOG.warning(otherwise, error=type(error).__name__)
        if last:
            return


async def _tidy(
    store: Store,
    traces: Traces,
    service: TelemetryService,
    ended: asyncio.Event,
    clock: Callable[[], float] = time.time,
) -> None:
    while True:
        try:
            await store.usage.roll_up(int(clock()), merge)
            await store.log.prune(clock() - service.log_days * 86_400, service.log_rows)
            await traces.prune(clock() - service.log_days * 86_400, service.trace_spans)
        except LOST_DATABASE as error:
            _LOG.warning("usage_not_rolled_up", error=type(error).__name__)
        if await _passed(ended, _TIDY_SECONDS):
            return


async def _passed(ended: asyncio.Event, seconds: float) -> bool:
    """Waits so long, or until the end; whether that has come."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    return ended.is_set()
