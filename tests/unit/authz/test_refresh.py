"""Key sets: fetched on time, on demand and never in a flood; what is bad never replaces what was good (A14 to A16)."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.refresh import MAX_DOCUMENT, FetchError, JwksRefresher, fetch_document
from policy.access import Algorithm, Jwks
from tests.unit.authz.world import NOW, rsa_jwk, rsa_key

URL = "https://auth.example.com/jwks"


def document(*kids: str) -> bytes:
    return json.dumps({"keys": [rsa_jwk(rsa_key(kid), kid) for kid in kids]}).encode()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Issuer:
    """An issuer whose answers the test chooses; counts how often it was asked."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.held: asyncio.Event | None = None

    async def __call__(self, url: str) -> bytes:
        assert url == URL
        self.asked += 1
        if self.held is not None:
            await self.held.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class World:
    def __init__(self, issuer: Issuer, **source: int) -> None:
        self.clock = Clock()
        self.board = FactsBoard()
        self.registry = CollectorRegistry()
        self.refresher = JwksRefresher(
            "customer",
            Algorithm.RS256,
            Jwks.model_validate({"url": URL, **source}),
            "customer",
            fetch=issuer,
            board=self.board,
            metrics=AuthzMetrics(self.registry, "marketing"),
            cooldown=10,
            clock=self.clock,
            monotonic=self.clock,
        )

    @property
    def kids(self) -> set[str]:
        key_set = self.board.current.key_sets.get("customer")
        return set() if key_set is None else set(key_set.keys)


async def test_a_refresh_brings_the_keys_and_drops_those_that_are_gone() -> None:
    world = World(Issuer(document("k1", "k2"), document("k2", "k3")))
    assert await world.refresher.refresh()
    assert world.kids == {"k1", "k2"}
    assert await world.refresher.refresh()
    assert world.kids == {"k2", "k3"}


BAD = {
    "down": FetchError("status 500"),
    "an error nobody thought of": RuntimeError("?"),
    "no keys": b'{"keys": []}',
    "not a set": b"[]",
    "not JSON": b"<html>",
    "keys twice": b'{"keys": [], "keys": []}',
    "weak keys": json.dumps({"keys": [rsa_jwk(rsa_key("weak", 1024))]}).encode(),
    "keys for encryption": json.dumps({"keys": [rsa_jwk(rsa_key("k1"), use="enc")]}).encode(),
    "nested without end": b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_answer_leaves_the_last_good_keys_until_they_are_too_old(name: str) -> None:
    world = World(Issuer(document("k1"), BAD[name]), max_stale_seconds=100)
    await world.refresher.refresh()
    world.clock.now += 50
    assert not await world.refresher.refresh()
    assert world.kids == {"k1"}
    assert world.board.current.key_sets["customer"].usable_until == NOW + 100
    labels = {"gateway": "marketing", "issuer": "customer", "outcome": "failed"}
    assert world.registry.get_sample_value("apibank_authz_key_fetches_total", labels) == 1


async def test_failures_are_retried_soon_then_later_and_never_later_than_on_time() -> None:
    world = World(Issuer(*[FetchError("down")] * 20), refresh_seconds=30)
    waits = []
    for _ in range(8):
        await world.refresher.refresh()
        waits.append(world.refresher.next_in)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


async def test_after_a_success_the_next_fetch_is_on_time() -> None:
    world = World(Issuer(FetchError("down"), document("k1")), refresh_seconds=30)
    await world.refresher.refresh()
    await world.refresher.refresh()
    assert world.refresher.next_in == 30


async def test_an_unknown_kid_is_fetched_at_once_and_found() -> None:
    issuer = Issuer(document("k1"), document("k1", "k2"))
    world = World(issuer)
    await world.refresher.refresh()
    world.clock.now += 11
    assert await world.refresher.find("k2")
    assert await world.refresher.find("k1")
    assert issuer.asked == 2


async def test_a_flood_of_unknown_kids_costs_one_fetch_per_cooldown() -> None:
    issuer = Issuer(document("k1"))
    world = World(issuer)
    await world.refresher.refresh()
    for round_ in range(3):
        world.clock.now += 11
        found = await asyncio.gather(*(world.refresher.find(f"x{round_}-{number}") for number in range(1000)))
        assert not any(found)
        for number in range(1000):
            assert not await world.refresher.find(f"y{round_}-{number}")
    assert issuer.asked == 4
    assert world.kids == {"k1"}


async def test_a_kid_that_the_issuer_did_not_have_is_not_asked_for_again_soon() -> None:
    issuer = Issuer(document("k1"))
    world = World(issuer)
    await world.refresher.refresh()
    world.clock.now += 11
    assert not await world.refresher.find("x")
    world.clock.now += 11
    assert not await world.refresher.find("x")
    assert issuer.asked == 2
    world.clock.now += 60
    assert not await world.refresher.find("x")
    assert issuer.asked == 3


async def test_many_who_wait_wait_for_one_fetch_and_one_that_leaves_does_not_end_it() -> None:
    issuer = Issuer(document("k1"))
    issuer.held = asyncio.Event()
    world = World(issuer)
    waiting = [asyncio.create_task(world.refresher.refresh()) for _ in range(10)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    issuer.held.set()
    assert all(await asyncio.gather(*waiting[1:]))
    assert issuer.asked == 1
    assert world.kids == {"k1"}


async def test_whoever_looks_for_a_kid_waits_a_moment_and_no_longer() -> None:
    issuer = Issuer(document("k1"))
    issuer.held = asyncio.Event()
    world = World(issuer)
    assert not await world.refresher.find("k1")
    issuer.held.set()
    assert await world.refresher.refresh()
    assert issuer.asked == 1
    assert await world.refresher.find("k1")


Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Respond], Awaitable[str]]]:
    """Serves one answer to whatever is asked, on a port of its own."""
    servers = []

    async def start(respond: Respond) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            try:
                await respond(writer)
                await writer.drain()
            except ConnectionError:
                pass
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"

    yield start
    for server in servers:
        server.close()


def plain(head: str, body: bytes = b"") -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\nconnection: close\r\n\r\n".encode() + body)

    return respond


async def test_a_plain_answer_is_fetched(serve: Callable[[Respond], Awaitable[str]]) -> None:
    url = await serve(plain("200 OK", b"{}"))
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        assert await fetch_document(client, url) == b"{}"


@pytest.mark.parametrize(
    "respond",
    [
        plain("500 Internal Server Error", b"{}"),
        plain("204 No Content"),
        plain("302 Found\r\nlocation: http://169.254.169.254/latest/meta-data"),
        plain("200 OK\r\ncontent-encoding: gzip", b"\x1f\x8b"),
        plain("200 OK", b"x" * (MAX_DOCUMENT + 1)),
        plain("nonsense"),
    ],
)
async def test_any_other_answer_is_an_error(respond: Respond, serve: Callable[[Respond], Awaitable[str]]) -> None:
    url = await serve(respond)
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        with pytest.raises(FetchError):
            await fetch_document(client, url)


async def test_an_endless_answer_is_cut_at_its_size(serve: Callable[[Respond], Awaitable[str]]) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        while True:
            writer.write(b"x" * 65_536)
            await writer.drain()

    url = await serve(endless)
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        with pytest.raises(FetchError, match="too large"):
            await fetch_document(client, url)


async def test_nobody_there_is_an_error() -> None:
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        with pytest.raises(FetchError):
            await fetch_document(client, "http://127.0.0.1:1/jwks")


async def test_a_silent_issuer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(_: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(60)
        return httpx2.Response(200)

    monkeypatch.setattr("authz.refresh.FETCH_SECONDS", 0.05)
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(silent)) as client:
        with pytest.raises(FetchError):
            await fetch_document(client, URL)
