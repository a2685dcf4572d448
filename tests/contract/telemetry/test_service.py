"""The telemetry service: what was told is in the database within seconds, also when it ends and when that is away."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx2
from sqlalchemy.exc import OperationalError

from apibank.telemetry_service import TelemetryService, run_telemetry
from protos import als_pb2 as pb
from protos import als_pb2_grpc as pb_grpc
from records.database import Database
from records.request_log import RequestLog, Wanted
from records.usage import Scope, Usage
from tests.contract.xds_compiler.federation import free_port

SUBJECT = "ann@example.com"


def message(count: int, at: float, *, status: int = 200) -> pb.StreamAccessLogsMessage:
    told = pb.StreamAccessLogsMessage()
    told.identifier.node.cluster, told.identifier.node.id = "marketing", "marketing-1"
    for number in range(count):
        entry = told.http_logs.log_entry.add()
        entry.common_properties.start_time.FromNanoseconds(int(at * 1e9))
        entry.common_properties.time_to_last_downstream_tx_byte.FromMilliseconds(5)
        entry.common_properties.route_name = "content"
        fields = entry.common_properties.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields
        fields["caller"].string_value, fields["subject"].string_value = f"sub:{SUBJECT}", SUBJECT
        fields["tier"].string_value = "free"
        entry.request.request_id, entry.request.path = f"r-{number}", "/api/marketing/content"
        entry.response.response_code.value = status
    return told


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[TelemetryService, asyncio.Event]]:
    service = TelemetryService(
        f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}", f"sqlite:///{folder / 'telemetry.db'}", folder / "key"
    )
    stop = asyncio.Event()
    running = asyncio.create_task(run_telemetry(service, stop))
    try:
        async with httpx2.AsyncClient() as client, asyncio.timeout(30):
            while True:
                try:
                    if (await client.get(f"http://{service.metrics_listen}/ready")).status_code == 200:
                        break
                except httpx2.HTTPError:
                    assert not running.done() or running.result()
                await asyncio.sleep(0.05)
        yield service, stop
    finally:
        stop.set()
        await asyncio.wait_for(running, 20)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(15):
        while not await true():
            await asyncio.sleep(0.05)


async def requests_of(database: Database, scope: Scope) -> int:
    rows = await Usage(database).sums(0, 2**40, [], scope=scope)
    return int(rows[0]["requests"])


async def test_what_envoys_tell_is_usage_and_a_log_within_seconds(tmp_path: Path) -> None:
    async with serving(tmp_path) as (service, _), Database(service.database) as database:
        async with grpc.aio.insecure_channel(service.listen) as channel:
            call = pb_grpc.AccessLogServiceStub(channel).StreamAccessLogs()  # type: ignore[no-untyped-call]
            await call.write(message(30, time.time()))
            await call.write(message(12, time.time(), status=503))
            await until(lambda: _is(requests_of(database, Scope.ALL), 42))
        assert await requests_of(database, Scope.CALLER) == 42
        rows = await Usage(database).sums(0, 2**40, ["status", "caller"], scope=Scope.CALLER)
        assert [(row["status"], row["requests"], row["failed"]) for row in rows] == [(200, 30, 0), (503, 12, 12)]
        assert rows[0]["caller"].startswith("sub:")
        found = await RequestLog(database).find(Wanted(status=5), 100)
        assert len(found) == 12
        assert SUBJECT not in repr(found) + repr(rows)
        async with httpx2.AsyncClient() as client:
            text = (await client.get(f"http://{service.metrics_listen}/metrics")).text
        assert 'apibank_requests_total{gateway="marketing",status="5xx",tier="free"} 12.0' in text


async def _is(value: Awaitable[int], expected: int) -> bool:
    return await value == expected


async def test_who_ends_writes_what_it_was_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as (service, stop), grpc.aio.insecure_channel(service.listen) as channel:
        call = pb_grpc.AccessLogServiceStub(channel).StreamAccessLogs()  # type: ignore[no-untyped-call]
        await call.write(message(7, time.time()))
        await asyncio.sleep(0.2)
        stop.set()
    async with Database(service.database) as database:
        assert await requests_of(database, Scope.ALL) == 7


async def test_while_the_database_is_away_nothing_that_was_told_is_lost(tmp_path: Path) -> None:
    async with serving(tmp_path) as (service, _), Database(service.database) as database:
        async with grpc.aio.insecure_channel(service.listen) as channel, httpx2.AsyncClient() as client:
            call = pb_grpc.AccessLogServiceStub(channel).StreamAccessLogs()  # type: ignore[no-untyped-call]
            async with database.writing():
                # Nobody else can write: the service waits, and goes on taking.
                for _ in range(5):
                    await call.write(message(4, time.time()))
                await asyncio.sleep(1.5)
                metrics = (await client.get(f"http://{service.metrics_listen}/metrics")).text
                assert "apibank_access_log_dropped_total 0.0" in metrics
            await until(lambda: _is(requests_of(database, Scope.ALL), 20))
        assert len(await RequestLog(database).find(Wanted(), 100)) == 20


async def test_one_that_is_killed_has_kept_all_but_the_last_seconds(tmp_path: Path) -> None:
    listen, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "apibank", "serve", "telemetry", "--listen", listen, "--metrics-listen", metrics]
    url = f"sqlite:///{tmp_path / 'telemetry.db'}"
    environment = {**os.environ, "APIBANK_STATE_DIR": str(tmp_path), "APIBANK_DATABASE": url}
    root = Path(__file__).parents[3]
    service = subprocess.Popen(command, env=environment, cwd=root, stderr=subprocess.DEVNULL)
    try:
        async with grpc.aio.insecure_channel(listen) as channel, Database(url) as database:
            call = pb_grpc.AccessLogServiceStub(channel).StreamAccessLogs(wait_for_ready=True)  # type: ignore[no-untyped-call]
            await call.write(message(11, time.time()))
            await until(lambda: _there(database))
            service.send_signal(signal.SIGKILL)
            service.wait()
            assert await requests_of(database, Scope.ALL) == 11
    finally:
        service.kill()
        service.wait()


async def _there(database: Database) -> bool:
    try:
        return await requests_of(database, Scope.ALL) == 11
    except OperationalError:
        # There are no tables yet.
        return False
