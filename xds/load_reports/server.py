"""The gRPC shell of the load reports: `envoy.service.load_stats.v3.LoadReportingService`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry

from xds.admission import Admission, Denial, Pace, ServerLimits
from xds.load_reports import wire
from xds.load_reports.load import Report
from xds.load_reports.reporting import Reporting
from xds.load_reports.reports import LoadReports
from xds.metrics import XdsMetrics
from xds.protocol.messages import Node

_Context = grpc.aio.ServicerContext[Any, Any]
Admit = Callable[[Node, _Context], str]
# A report and its size in bytes.
_Sized = tuple[Report, int]

# In metrics.
LABEL: Final = "load_reports"

_UNREADABLE: Final = "the stream holds something that is no load report"
_NAMELESS: Final = "the first report on a stream has no node id"
_SILENT: Final = "no load report came"


def register(
    server: grpc.aio.Server,
    reports: LoadReports,
    admit: Admit,
    limits: ServerLimits | None = None,
    metrics: XdsMetrics | None = None,
) -> str:
    """Serve load reports on a server that has not started yet; returns the service's name, for health and reflection.

    `admit` says why a node may not report on this connection, "" if it may: the same as for its configuration, so that
    no proxy can report another's errors. `reports.close()` ends the open streams when the server stops.
    """
    service = _Service(reports, admit, limits or ServerLimits(), metrics or XdsMetrics(CollectorRegistry()))
    method = grpc.stream_stream_rpc_method_handler(
        service.serve,
        request_deserializer=lambda raw: (wire.read_report(raw), len(raw)),
        response_serializer=wire.write_interval,
    )
    handlers = grpc.method_handlers_generic_handler(wire.SERVICE, {"StreamLoadStats": method})
    server.add_generic_rpc_handlers((handlers,))
    return wire.SERVICE


class _Service:
    """Its streams have places of their own, so that they take none from discovery."""

    def __init__(self, reports: LoadReports, admit: Admit, limits: ServerLimits, metrics: XdsMetrics) -> None:
        self._reports = reports
        self._admit = admit
        self._limits = limits
        self._metrics = metrics
        self._places = Admission(replace(limits, max_streams_per_node=limits.max_load_streams_per_node))

    async def serve(self, requests: AsyncIterator[_Sized], context: _Context) -> None:
        entered = self._places.enter(time.monotonic())
        if isinstance(entered, Denial):
            await self._refuse(entered, context)
            return
        admitted: list[Node] = []
        self._metrics.other_calls(LABEL, 1)
        try:
            await asyncio.sleep(entered)
            first = await self._first(requests, context)
            if first is None or first.node is None:
                return
            if reason := self._admit(first.node, context):
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
            if denial := self._places.identify(first.node):
                await self._refuse(denial, context)
            admitted.append(first.node)
            await self._report(first, first.node, requests, context)
        finally:
            self._metrics.other_calls(LABEL, -1)
            self._places.leave(admitted[0] if admitted else None)

    async def _refuse(self, denial: Denial, context: _Context) -> None:
        self._metrics.other_refused(LABEL, denial.reason)
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, denial.text)

    async def _first(self, requests: AsyncIterator[_Sized], context: _Context) -> Report | None:
        """None if the proxy says nothing at all."""
        try:
            async with asyncio.timeout(self._limits.first_request_seconds):
                first = await anext(requests, None)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        except TimeoutError:
            self._metrics.other_timed_out(LABEL)
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, _SILENT)
        if first is None:
            return None
        report, _ = first
        if report.node is None or not report.node.id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NAMELESS)
        return report

    async def _report(self, first: Report, node: Node, requests: AsyncIterator[_Sized], context: _Context) -> None:
        reporting = Reporting(self._reports, node, self._limits, time.monotonic)
        reporting.take(first)
        reader = asyncio.create_task(self._read(reporting, requests))
        try:
            silent = await reporting.run(reader, context.write)
        finally:
            reader.cancel()
            reporting.leave()
        if silent:
            self._metrics.other_timed_out(LABEL)
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, _SILENT)
        if reader.done() and not reader.cancelled() and (refused := reader.result()):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused)

    async def _read(self, reporting: Reporting, requests: AsyncIterator[_Sized]) -> str:
        """Until the proxy ends the stream; why the control plane ends it, "" if it does not."""
        pace = Pace(self._limits)
        try:
            async for report, size in requests:
                if refused := reporting.take(report):
                    return refused
                if wait := pace.read(size, time.monotonic()):
                    self._metrics.throttled()
                    await asyncio.sleep(wait)
        except DecodeError:
            return _UNREADABLE
        finally:
            reporting.wake.set()
        return ""
