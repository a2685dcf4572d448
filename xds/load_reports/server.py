"""The gRPC shell of the load reports: `envoy.service.load_stats.v3.LoadReportingService`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from xds.load_reports import wire
from xds.load_reports.load import Report
from xds.load_reports.reports import LoadReports, Reporter
from xds.protocol.messages import Node

_Context = grpc.aio.ServicerContext[Any, Any]
Admit = Callable[[Node, _Context], str]

_UNREADABLE: Final = "the stream holds something that is no load report"
_NAMELESS: Final = "the first report on a stream has no node id"
_RENAMED: Final = "the stream belongs to another node"


def register(server: grpc.aio.Server, reports: LoadReports, admit: Admit) -> str:
    """Serve load reports on a server that has not started yet; returns the service's name, for health and reflection.

    `admit` says why a node may not report on this connection, "" if it may: the same as for its configuration, so that
    no proxy can report another's errors. `reports.close()` ends the open streams when the server stops.
    """
    method = grpc.stream_stream_rpc_method_handler(
        partial(_serve, reports, admit), request_deserializer=wire.read_report, response_serializer=wire.write_interval
    )
    handlers = grpc.method_handlers_generic_handler(wire.SERVICE, {"StreamLoadStats": method})
    server.add_generic_rpc_handlers((handlers,))
    return wire.SERVICE


async def _serve(reports: LoadReports, admit: Admit, requests: AsyncIterator[Report], context: _Context) -> None:
    try:
        first = await anext(requests, None)
    except DecodeError:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
    if first is None:
        return
    if first.node is None or not first.node.id:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _NAMELESS)
    if reason := admit(first.node, context):
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
    wake = asyncio.Event()
    reporter = reports.join(first.node, wake.set)
    reports.add(reporter, first.loads)
    reader = asyncio.create_task(_read(reports, reporter, requests, wake))
    try:
        await _tell_interval(reports, reporter, reader, wake, context)
    finally:
        reader.cancel()
        reports.leave(reporter)
    if reader.done() and not reader.cancelled() and (refused := reader.result()):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, refused)


async def _read(reports: LoadReports, reporter: Reporter, requests: AsyncIterator[Report], wake: asyncio.Event) -> str:
    """Until the proxy ends the stream; why the control plane ends it, "" if it does not."""
    try:
        async for report in requests:
            if report.node and report.node.id and (report.node.id, report.node.cluster) != _identity(reporter):
                return _RENAMED
            reports.add(reporter, report.loads)
    except DecodeError:
        return _UNREADABLE
    finally:
        wake.set()
    return ""


async def _tell_interval(
    reports: LoadReports, reporter: Reporter, reader: asyncio.Task[str], wake: asyncio.Event, context: _Context
) -> None:
    """Whenever it changes, and at first."""
    told = 0.0
    while not (reader.done() or reporter.closed):
        wake.clear()
        interval = reports.interval(reporter.node.cluster)
        if interval == told:
            await wake.wait()
        else:
            await context.write(interval)
            told = interval


def _identity(reporter: Reporter) -> tuple[str, str]:
    return reporter.node.id, reporter.node.cluster
