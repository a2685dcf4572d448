"""How long pages take over a million rows of usage, and as many single requests: `python -m bench.pages`.

The portal's own pages in one process, over SQLite, asked one after the other by somebody who is signed in: the time is
that of the query, the figures and the page, without a network. One caller, the heaviest, has every row that one caller
can have: requests in every minute, by all its routes, results and keys; the rest of the million is of others. Rows are
as old and as coarse as the telemetry service leaves them.
"""

import argparse
import asyncio
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx2
from fastapi import FastAPI

from apibank.developer.telemetry import RequestShelf, UsageBoard
from apibank.sre.traces import TraceShelf
from apibank.sre.traffic import Traffic
from portal.developer.browser import SESSION_COOKIE, Doorkeeper
from portal.developer.person import Person
from portal.developer.requests import request_routes
from portal.developer.usage import usage_routes
from portal.sre.traces import trace_pages
from portal.sre.traffic import traffic_pages
from records.database import Database
from records.request_figures import RequestFigures
from records.request_log import RequestLog
from records.traces import Traces
from records.upgrade import upgrade
from records.usage import DAY, HOUR, MINUTE, Kept, Usage
from telemetry.access_log.histogram import bucket
from telemetry.prices import read_prices

ROWS: Final = 1_000_000
ROUNDS: Final = 20
NOW: Final = 1_800_000_000 // DAY * DAY + 13 * HOUR
BASE: Final = "https://bench"
HEAVY, OTHERS = "partner:acme", 400
ROUTES: Final = (("central", "marketing"), ("marketing", "content"), ("marketing", "seo"), ("marketing", "campaigns"))
STATUSES: Final = (200, 403, 429, 503)
KEYS: Final = ("key_1", "key_2", "key_3")
_USAGE: Final = (
    "grain, start, scope, gateway, route, caller, tenant, tier, status, credential, requests, failed, octets_in, "
    "octets_out, duration, histogram"
)
_LOG: Final = (
    "at, gateway, node, request_id, method, path, route, status, details, flags, duration, upstream_duration, "
    "upstream, attempts, octets_in, octets_out, address, user_agent, caller, subject, tenant, tier, role, outcome, "
    "credential"
)


class Sessions:
    """One person, who is always there."""

    def __init__(self, person: Person) -> None:
        self._person = person

    async def open(self, person: Person) -> str:
        return person.subject

    async def find(self, _: str) -> Person:
        return self._person

    async def close(self, _: str) -> None: ...


def periods() -> Iterator[tuple[int, int]]:
    """The grain and the start of every period that rows are kept of, up to 30 days ago."""
    kept = Kept()
    minutes = (NOW - kept.minutes) // HOUR * HOUR
    hours = (NOW - kept.hours) // DAY * DAY
    yield from ((MINUTE, start) for start in range(minutes, NOW, MINUTE))
    yield from ((HOUR, start) for start in range(hours, minutes, HOUR))
    yield from ((DAY, start) for start in range(hours - 30 * DAY, hours, DAY))


def usage_rows() -> Iterator[tuple[object, ...]]:
    draw = random.Random(7)
    count = 0
    for grain, start in periods():
        for gateway, route in ROUTES:
            for status in STATUSES:
                yield _usage(draw, grain, start, "all", gateway, route, "", status, "")
                for key in KEYS:
                    yield _usage(draw, grain, start, "caller", gateway, route, HEAVY, status, key)
                count += 1 + len(KEYS)
    every = list(periods())
    while count < ROWS:
        grain, start = draw.choice(every)
        gateway, route = draw.choice(ROUTES)
        caller = f"partner:other-{draw.randrange(OTHERS)}"
        yield _usage(draw, grain, start, "caller", gateway, route, caller, draw.choice(STATUSES), "key_x")
        count += 1


def _usage(
    draw: random.Random,
    grain: int,
    start: int,
    scope: str,
    gateway: str,
    route: str,
    caller: str,
    status: int,
    key: str,
) -> tuple[object, ...]:
    durations = [draw.lognormvariate(2.5, 0.6) for _ in range(8)]
    histogram = " ".join(f"{index}:{draw.randrange(1, 50)}" for index in sorted({bucket(one) for one in durations}))
    tenant = caller.partition(":")[2]
    return (
        grain, start, scope, gateway, route, caller, tenant, "business", status, key, 100, 0, 10_000, 20_000,
        sum(durations), histogram,
    )  # fmt: skip


def log_rows() -> Iterator[tuple[object, ...]]:
    draw = random.Random(8)
    for number in range(ROWS):
        gateway, route = draw.choice(ROUTES)
        caller = HEAVY if draw.random() < 0.3 else f"partner:other-{draw.randrange(OTHERS)}"
        at = NOW - 7 * DAY * (ROWS - number) / ROWS
        yield (
            at, gateway, f"{gateway}-1", f"r-{number}", "POST", "/api/marketing/content", route, draw.choice(STATUSES),
            "via_upstream", "", draw.lognormvariate(2.5, 0.6), 5.0, "marketing-agents", 1, 100, 200, "203.0.113.7",
            "bench", caller, "", caller.partition(":")[2], "business", "", "allowed", draw.choice(KEYS),
        )  # fmt: skip


def fill(path: Path) -> None:
    with sqlite3.connect(path) as file:
        for table, columns, rows in (("usage", _USAGE, usage_rows()), ("access_log", _LOG, log_rows())):
            places = ",".join("?" * len(columns.split(",")))
            file.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", rows)


async def measured(path: Path, rounds: int) -> None:
    database = await Database(f"sqlite:///{path}").__aenter__()
    person = Person("user_1", "Asha", "admin", "business", ("marketing:*",), "acme")
    door = Doorkeeper(Sessions(person), (BASE,))
    app = FastAPI()
    app.include_router(
        usage_routes(door, UsageBoard(database, lambda text: text), lambda: datetime.fromtimestamp(NOW, UTC))
    )
    app.include_router(request_routes(door, RequestShelf(RequestLog(database), dict, lambda text: text)))
    app.include_router(trace_pages(door, TraceShelf(Traces(database))))
    traffic, figures = Traffic(Usage(database), read_prices()), RequestFigures(database)
    app.include_router(traffic_pages(door, traffic, lambda: datetime.fromtimestamp(NOW, UTC)))
    transport = httpx2.ASGITransport(app)
    print(f"{'':44} {'median':>10} {'slowest':>10}   of {rounds}", flush=True)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE, cookies={SESSION_COOKIE: "x"}) as browser:

        async def page(address: str) -> None:
            answer = await browser.get(address)
            assert answer.status_code == 200, answer.text[:300]

        for period in ("day", "week", "month"):
            await _timed(
                f"usage of the heaviest caller, {period}", rounds, lambda p=period: page(f"/portal/usage?period={p}")
            )
        await _timed("requests", rounds, lambda: page("/portal/requests"))
        await _timed("requests, failed", rounds, lambda: page("/portal/requests?status=5"))
        await _timed("requests of one key", rounds, lambda: page("/portal/requests?key=key_2"))
        await _timed("requests of a key that nobody has", rounds, lambda: page("/portal/requests?key=none"))
        await _timed("one request by its id", rounds, lambda: page(f"/portal/requests?request_id=r-{ROWS - 5}"))
        await _timed("a page of old requests", rounds, lambda: page("/portal/requests?before=200000"))
        await _timed("the console's traffic of a gateway", rounds, lambda: traffic.of("marketing", NOW))
        for period in ("day", "week", "month"):
            await _timed(
                f"the console's page of all traffic, {period}", rounds,
                lambda p=period: page(f"/portal/sre/traffic?period={p}"),
            )  # fmt: skip
        await _timed("traces, where there are none", rounds, lambda: page("/portal/sre/traces"))
        await _timed("the platform's figures of a minute", rounds, lambda: figures.between("central", NOW - 60, NOW))


async def _timed(what: str, rounds: int, ask: "object") -> None:
    assert callable(ask)
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        await ask()
        took.append(time.perf_counter() - started)
    print(f"{what:44} {statistics.median(took) * 1e3:7.1f} ms {max(took) * 1e3:7.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "telemetry.db"
        asyncio.run(upgrade(f"sqlite:///{path}"))
        fill(path)
        with sqlite3.connect(path) as file:
            (heavy,) = file.execute("SELECT count(*) FROM usage WHERE caller = ?", (HEAVY,)).fetchone()
            (rows,) = file.execute("SELECT count(*) FROM usage").fetchone()
        print(f"{rows:,} rows of usage, {heavy:,} of them of one caller; {ROWS:,} single requests")
        asyncio.run(measured(path, rounds))


if __name__ == "__main__":
    main()
