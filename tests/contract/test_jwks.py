"""An issuer's keys over real HTTP, from the fetch to the decision: floods, outages, rotations, hostile documents."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from authz.authorizer import Authorizer
from authz.facts import Facts, FactsBoard
from authz.identity.keys import source_of
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.rules import compile_rules
from authz.sources import CredentialSources
from policy.model import Gateway
from tests.unit.authz.test_authorizer import Witness
from tests.unit.authz.world import AUDIENCE, ISSUER, b64, policy, request, rsa_jwk, rsa_key, token

FLOOD = 10_000


class Publisher:
    """An issuer's web server; what it answers is the test's."""

    def __init__(self) -> None:
        self.asked = 0
        self.head = "200 OK"
        self.body = b""
        self.hangs = False
        self.reached = 0

    def publish(self, *kids: str, **members: object) -> None:
        self.head = "200 OK"
        self.body = json.dumps({"keys": [rsa_jwk(rsa_key(kid), kid, **members) for kid in kids]}).encode()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        if path != b"/jwks":
            self.reached += 1
        self.asked += 1
        if self.hangs:
            await reader.read()
        writer.write(f"HTTP/1.1 {self.head}\r\nconnection: close\r\n\r\n".encode() + self.body)
        writer.close()


class World:
    """One gateway that gets its keys from the publisher. Its clock is the test's, and so are its fetches."""

    def __init__(self, publisher: Publisher, gateway: Gateway, sources: CredentialSources, board: FactsBoard) -> None:
        self.publisher, self.sources, self.board = publisher, sources, board
        self.now = time.time()
        self.kept_as = source_of("customer", gateway.issuers["customer"])
        self.rules = compile_rules(gateway)
        self.authorizer = Authorizer(
            "marketing",
            board=board,
            nonces=MemoryNonceStore(),
            audit=Witness(1_000_000),
            metrics=AuthzMetrics(CollectorRegistry(), "marketing"),
            key_finder=sources,
            clock=lambda: self.now,
        )
        self.authorizer.install(self.rules)

    async def ask(self, text: str, address: str = "192.0.2.7") -> str | None:
        decision = await self.authorizer.authorize(request("plain", token=text, address=address, rules=self.rules))
        return None if decision.refusal is None else decision.refusal.reason.value

    async def refresh(self) -> bool:
        return await self.sources._refreshers[self.kept_as].refresh()

    def wait_out_the_cooldown(self) -> None:
        self.sources._refreshers[self.kept_as]._fetched_at -= 60


def of(kid: str, **changes: object) -> str:
    # Key sets age by the real clock.
    now = int(time.time())
    return token(rsa_key(kid), {"kid": kid}, **{"iat": now - 60, "exp": now + 600, **changes})


Start = Callable[..., Awaitable[World]]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr("authz.refresh.FETCH_SECONDS", 0.5)
    publisher = Publisher()
    server = await asyncio.start_server(publisher.answer, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as client:
        board = FactsBoard(Facts())
        sources = CredentialSources(board, AuthzMetrics(CollectorRegistry(), "marketing"), client)

        async def made(*kids: str, **source: object) -> World:
            publisher.publish(*kids)
            known = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": {"url": f"{base}/jwks", **source}}
            gateway = policy(
                issuers={"customer": known},
                callers={"tokens": {"customer": ["customer"]}},
                routes={"plain": {"path": "/api/marketing/plain", "upstream": "service"}},
            )
            await sources.apply(gateway)
            return World(publisher, gateway, sources, board)

        yield made
        await sources.close()
    server.close()


@pytest.mark.attack("A14")
@pytest.mark.requirement("R12", "R24")
async def test_ten_thousand_unknown_kids_cost_one_fetch_and_good_tokens_notice_nothing(start: Start) -> None:
    world = await start("k1")
    good = of("k1")
    assert await world.ask(good) is None
    # A signature need not fit to ask for a key: the flood costs whoever sends it nothing.
    rest = good.partition(".")[2]
    flood = [f"{b64(json.dumps({'alg': 'RS256', 'kid': f'x{number}'}).encode())}.{rest}" for number in range(FLOOD)]
    world.wait_out_the_cooldown()
    before = world.publisher.asked
    for first in range(0, FLOOD, 1000):
        asking = (world.ask(text, f"198.51.100.{at % 250}") for at, text in enumerate(flood[first : first + 1000]))
        answers = await asyncio.gather(*asking)
        assert set(answers) <= {"token_invalid", "too_many_failures"}
        assert await world.ask(good) is None
        assert await world.ask(of("k1", jti=f"t-{first}")) is None
    assert world.publisher.asked == before + 1


HOSTILE: dict[str, tuple[str, bytes]] = {
    "500": ("500 Internal Server Error", b"{}"),
    "an empty set": ("200 OK", b'{"keys": []}'),
    "10 MB": ("200 OK", b'{"keys": [' + b" " * 10_000_000 + b"]}"),
    "a redirect to the metadata service": ("302 Found\r\nlocation: /latest/meta-data", b""),
    "a permanent redirect": ("308 Permanent Redirect\r\nlocation: /elsewhere", b""),
    "a kid that names two keys": (
        "200 OK",
        json.dumps({"keys": [rsa_jwk(rsa_key("one"), "k1"), rsa_jwk(rsa_key("two"), "k1")]}).encode(),
    ),
    "a key for encryption": ("200 OK", json.dumps({"keys": [rsa_jwk(rsa_key("k1"), "k1", use="enc")]}).encode()),
    "a weak key": ("200 OK", json.dumps({"keys": [rsa_jwk(rsa_key("weak", 1024), "k1")]}).encode()),
    "a private key": ("200 OK", json.dumps({"keys": [rsa_jwk(rsa_key("k1"), "k1", d="AQAB")]}).encode()),
    "a page": ("200 OK\r\ncontent-type: text/html", b"<html>sign in</html>"),
    "nothing": ("200 OK", b""),
    "an answer to another question": ("nonsense", b""),
}


@pytest.mark.attack("A15")
@pytest.mark.requirement("R12")
@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_or_broken_document_leaves_the_keys_until_they_are_too_old(name: str, start: Start) -> None:
    world = await start("k1", max_stale_seconds=3600)
    world.publisher.head, world.publisher.body = HOSTILE[name]
    assert not await world.refresh()
    assert await world.ask(of("k1")) is None
    # Redirects are not followed, wherever they lead.
    assert world.publisher.reached == 0
    loaded = world.board.current.key_sets[world.kept_as].usable_until
    world.now = loaded
    assert await world.ask(of("k1", iat=int(loaded) - 1, exp=int(loaded) + 600)) is None
    world.now = loaded + 1
    assert await world.ask(of("k1", iat=int(loaded), exp=int(loaded) + 600)) == "issuer_unavailable"
    world.publisher.publish("k1")
    assert await world.refresh()


@pytest.mark.attack("A15")
@pytest.mark.requirement("R12")
async def test_an_issuer_that_hangs_holds_up_nobody(start: Start) -> None:
    world = await start("k1")
    world.publisher.hangs = True
    refreshing = asyncio.create_task(world.refresh())
    await asyncio.sleep(0)
    for number in range(100):
        assert await world.ask(of("k1", jti=f"t-{number}")) is None
    assert not await refreshing


@pytest.mark.attack("A16")
@pytest.mark.requirement("R24")
async def test_a_new_key_is_accepted_with_its_first_token_and_an_old_one_until_it_is_withdrawn(start: Start) -> None:
    world = await start("k1")
    old, new = of("k1"), of("k2")
    assert await world.ask(old) is None
    assert await world.ask(new) == "token_invalid"
    world.publisher.publish("k1", "k2")
    # What was asked for in vain is not asked for again at once; the refresh that is due brings it.
    assert await world.refresh()
    assert [await world.ask(text) for text in (old, new)] == [None, None]
    world.publisher.publish("k2", "k3")
    world.wait_out_the_cooldown()
    # A key that nobody has asked for yet is fetched by the token that names it.
    assert await world.ask(of("k3")) is None
    # The old key is gone, and with it the memory of the tokens that it signed.
    assert await world.ask(old) == "token_invalid"
    assert await world.ask(new) is None
