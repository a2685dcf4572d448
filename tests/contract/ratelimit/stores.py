"""Every kind of store that there is, each with a real server behind it."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from redis import Redis

from apibank.certificates import ensure_certificates
from ratelimit.store import Charge, CounterStore, Outcome, Reading, Unavailable
from ratelimit.stores import open_store
from tests.contract.ratelimit.valkey import valkey
from tests.support.redis_servers import HOST, REDIS, Server, cluster, folder, free_port, one_server, watched
from tests.support.stack import ROOT

KINDS = ("memory", "socket", "tcp", "acl", "tls", "sentinel", "cluster")
USER, PASSWORD = "counters", "a/password?with&signs%"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is, how it is emptied, and a client of it."""

    url: str
    flush: Callable[[], object]

    def open(self) -> CounterStore:
        return Tagged(open_store(self.url, timeout=10))


class Tagged:
    """The store, with one hash tag for all keys, as all counters of one domain have it."""

    def __init__(self, store: CounterStore) -> None:
        self.store = store

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        return await self.store.charge(_tagged(charges))

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        return await self.store.charge_many([_tagged(charges) for charges in requests])

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading] | Unavailable:
        return await self.store.peek(_tagged(charges))

    async def ready(self) -> bool:
        return await self.store.ready()

    async def close(self) -> None:
        await self.store.close()


def _tagged(charges: Sequence[Charge]) -> list[Charge]:
    return [replace(charge, key=b"rl:{test}:" + charge.key) for charge in charges]


@contextmanager
def running(kind: str) -> Iterator[Place]:
    """A place of that kind. Servers end with the context."""
    match kind:
        case "memory":
            yield Place("memory", lambda: None)
        case "socket":
            with valkey() as (url, _), Redis.from_url(url) as client:
                yield Place(url, client.flushall)
        case "tcp":
            with one_server() as server:
                yield Place(f"redis://{HOST}:{server.port}/0", _flusher(server))
        case "acl":
            with folder() as path, with_user(path) as server:
                file = path / "password"
                file.write_text(PASSWORD + "\n", encoding="utf-8")
                yield Place(f"redis://{USER}@{HOST}:{server.port}/0?password_file={file}", _flusher(server))
        case "tls":
            with folder() as path, by_tls(path) as (server, query):
                yield Place(f"rediss://{HOST}:{server.port}/0?{query}", _flusher(server))
        case "sentinel":
            with watched() as group:
                yield Place(group.url, lambda: _flusher(group.master)())
        case "cluster":
            with cluster() as nodes:
                yield Place(nodes.url, nodes.flush)


def _flusher(server: Server) -> Callable[[], object]:
    def flush() -> object:
        with server.client() as client:
            return client.flushall()

    return flush


@contextmanager
def with_user(path: Path) -> Iterator[Server]:
    """A server whose user for counters may do what docs/operate/limit-stores.md says, and nobody else anything."""
    rules = path / "users.acl"
    page = (ROOT / "docs" / "operate" / "limit-stores.md").read_text(encoding="utf-8")
    (user,) = [line for line in page.splitlines() if line.startswith(f"user {USER} ")]
    rules.write_text(f"user default on >admin ~* &* +@all\n{user.replace('PASSWORD', PASSWORD)}\n", encoding="utf-8")
    with one_server("--aclfile", str(rules), password="admin") as server:
        yield server


@contextmanager
def by_tls(path: Path) -> Iterator[tuple[Server, str]]:
    """A Redis that wants a client's certificate, and the options that show it one."""
    issued = ensure_certificates(path, ["central"], datetime.now(UTC))
    mine, theirs = issued.mesh["central"], issued.control_plane
    port = free_port()
    options = ("--port", "0", "--tls-port", str(port), "--bind", HOST, "--save", "", "--tls-auth-clients", "yes")
    options += ("--tls-cert-file", str(theirs.chain_file), "--tls-key-file", str(theirs.key_file))
    options += ("--tls-ca-cert-file", str(issued.ca_file))
    login = {
        "ssl": True,
        "ssl_ca_certs": str(issued.ca_file),
        "ssl_certfile": str(mine.chain_file),
        "ssl_keyfile": str(mine.key_file),
    }
    server = Server(path, port, options, str(REDIS), login)
    try:
        yield server.start(), f"ca_file={issued.ca_file}&cert_file={mine.chain_file}&key_file={mine.key_file}"
    finally:
        server.stop()


async def admitted(store: CounterStore, *charges: Charge) -> bool:
    outcome = await store.charge(charges)
    assert isinstance(outcome, Outcome), outcome
    return outcome.admitted


async def remaining(store: CounterStore, *charges: Charge) -> list[int]:
    readings = await store.peek(charges)
    assert not isinstance(readings, Unavailable), readings
    return [reading[1] for reading in readings]


@asynccontextmanager
async def opened(url: str, timeout: float = 10) -> AsyncIterator[CounterStore]:
    store = open_store(url, timeout)
    yield store
    await store.close()
