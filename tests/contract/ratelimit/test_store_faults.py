"""What becomes of requests while the store is stopped, hangs, is slow, full, forgetful, or will not let us in.

The outcomes are those that docs/operate/limit-stores.md promises: each limit answers by its own mode, every call within
its deadline, and exactly again within a second of the store's return.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from policy.limits import StoreFailure
from ratelimit.store import Loss
from ratelimit.stores import open_store
from tests.contract.ratelimit.service import OK, OVER, Asked, Unit, descriptor, domain, per, serving
from tests.support.redis_servers import HOST, Server, one_server

LOST = None
TIMEOUT = 0.3
# Far beyond the time-out for machines that do other things; without a bound calls would hang for ten seconds.
BOUND = 5.0
MODES = {mode.value: {"on_store_failure": mode} for mode in StoreFailure}


@pytest.fixture
def server() -> Iterator[Server]:
    with one_server("--appendonly", "yes", "--enable-debug-command", "local") as running:
        yield running


@asynccontextmanager
async def asking(url: str) -> AsyncIterator[Asked]:
    store = open_store(url, TIMEOUT)
    async with serving(store) as asked:
        rules = {((mode, None),): per(4, Unit.DAY, **MODES[mode]) for mode in MODES}
        domain(asked, {**rules, (("roomy", None),): per(1000, Unit.DAY)})
        yield asked
    await store.close()


def url_of(server: Server) -> str:
    return f"redis://{HOST}:{server.port}/0"


async def said(asked: Asked, *keys: str) -> int | None:
    """The overall code for the same caller under each of these limits; LOST where nobody could count."""
    begun = time.monotonic()
    try:
        return (await asked.ask(*(descriptor((key, "caller")) for key in keys))).overall_code
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return LOST
    finally:
        assert time.monotonic() - begun < BOUND


async def counts_again(asked: Asked) -> float:
    begun = time.monotonic()
    while await said(asked, "roomy") is not OK:
        assert time.monotonic() - begun < BOUND
        await asyncio.sleep(0.02)
    return time.monotonic() - begun


async def held_to_its_modes(asked: Asked, loss: Loss) -> None:
    """Closed refuses, open admits, local counts what is left; and each of it is in the metrics."""
    assert await said(asked, "closed") is LOST
    assert [await said(asked, "open") for _ in range(9)] == [OK] * 9
    # One of four was used before the loss.
    assert [await said(asked, "local") for _ in range(5)] == [OK] * 3 + [OVER] * 2
    assert await said(asked, "local", "closed") is LOST
    assert await said(asked, "local", "open") is OVER
    lost = "apibank_ratelimit_store_losses_total"
    for answer, times in (("admitted", 9), ("local", 6), ("unavailable", 2)):
        assert asked.metric(lost, domain="test", loss=loss.value, answer=answer) == times


async def use_each_once(asked: Asked) -> None:
    for mode in MODES:
        assert await said(asked, mode) is OK


@pytest.mark.attack("A65")
async def test_a_store_that_is_stopped_and_comes_back(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        await use_each_once(asked)
        server.stop(signal.SIGTERM)
        await held_to_its_modes(asked, Loss.UNREACHABLE)
        server.start()
        await counts_again(asked)
        # It kept what it had counted, and nothing of what was admitted meanwhile was charged to it.
        for mode in MODES:
            assert [await said(asked, mode) for _ in range(4)] == [OK] * 3 + [OVER]


@pytest.mark.attack("A65")
async def test_a_store_that_hangs(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        await use_each_once(asked)
        with server.paused():
            await held_to_its_modes(asked, Loss.TIMEOUT)
        await counts_again(asked)
        # What was sent before it hung is charged when it wakes: at most once each, and never admitted twice.
        assert [await said(asked, "closed") for _ in range(4)].count(OK) in {1, 2, 3}


async def test_a_store_that_is_slow_for_a_while_answers_nobody_late(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        await use_each_once(asked)
        with server.client() as client:
            busy = asyncio.create_task(asyncio.to_thread(client.execute_command, "DEBUG", "SLEEP", 1))
            await asyncio.sleep(0.1)
            assert await said(asked, "closed") is LOST
            assert await said(asked, "local") is OK
            await busy
        await counts_again(asked)


async def test_a_store_that_is_killed_keeps_what_it_wrote(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        for _ in range(4):
            assert await said(asked, "closed") is OK
        # As often as the file is flushed (appendfsync everysec); the page cache outlives the process in any case.
        server.stop(signal.SIGKILL)
        assert await said(asked, "closed") is LOST
        server.start()
        await counts_again(asked)
        assert await said(asked, "closed") is OVER


async def test_a_store_that_forgets_its_scripts_is_told_them_again(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        for _ in range(3):
            with server.client() as client:
                client.script_flush()
            assert await said(asked, "closed") is OK


@pytest.mark.attack("A65", "A66")
async def test_a_store_that_is_full(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        await use_each_once(asked)
        with server.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1mb")
            await held_to_its_modes(asked, Loss.FULL)
            client.config_set("maxmemory", "0")
        await counts_again(asked)
        assert [await said(asked, "closed") for _ in range(4)] == [OK] * 3 + [OVER]


async def test_a_password_that_is_wrong_from_now_on(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first", encoding="utf-8")
    with server.client() as client:
        client.config_set("requirepass", "first")
    server.login = {"password": "first"}
    async with asking(f"redis://{HOST}:{server.port}/0?password_file={file}") as asked:
        await use_each_once(asked)
        with server.client() as client:
            client.config_set("requirepass", "second")
            client.client_kill_filter(_type="normal", skipme=True)
            await held_to_its_modes(asked, Loss.REFUSED)
            file.write_text("second", encoding="utf-8")
            await counts_again(asked)


async def test_calls_under_way_when_the_store_is_lost_are_all_answered(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        await use_each_once(asked)
        with server.paused():
            begun = time.monotonic()
            codes = await asyncio.gather(*(said(asked, "closed", "local") for _ in range(300)))
            assert set(codes) == {LOST}
            assert time.monotonic() - begun < BOUND
        await counts_again(asked)


async def test_a_flood_of_refusals_is_refused_nearby_and_counted(server: Server) -> None:
    async with asking(url_of(server)) as asked:
        assert [await said(asked, "closed") for _ in range(5)] == [OK] * 4 + [OVER]
        with server.client() as client:
            before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
            begun = time.monotonic()
            refused = [await said(asked, "closed") for _ in range(50)]
            lasted = time.monotonic() - begun
            asked_again = client.info("commandstats")["cmdstat_evalsha"]["calls"] - before
        assert refused == [OVER] * 50
        # Once a second at most.
        assert asked_again <= 1 + lasted
