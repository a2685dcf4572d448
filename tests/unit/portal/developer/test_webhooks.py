"""Webhooks: signed as the standard says, sent until they are taken, and never into our own network."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from ipaddress import ip_network

import httpx2
import pytest
import trustme
from standardwebhooks.webhooks import Webhook as Receiver

from apibank.developer.courier import RETRIES, Courier
from apibank.developer.destinations import Destinations, UnreachableError
from apibank.developer.happenings import Happenings, Quotas
from portal.developer.webhooks import MOST
from portal.limits_api import Record
from records.api_keys import ApiKeys
from records.audit_log import AuditLog, AuditQuery
from records.database import Database
from records.events import body_of
from records.policy_history import PolicyHistory
from records.webhooks import Webhook, Webhooks
from tests.unit.portal.developer.conftest import ALLOWED, Clock, lookup
from tests.unit.portal.developer.world import Browser

MakeBrowser = Callable[[], Browser]
OWNER = "person-user_12345"
XSS = "https://hooks.example/<script>alert(1)</script>\"onload='x"


class Server:
    """Somebody's server: notes what it gets, and answers as a test says."""

    def __init__(self) -> None:
        self.status = 204
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        self.seen.append((headers, await reader.readexactly(int(headers["content-length"]))))
        writer.write(f"HTTP/1.1 {self.status} X\r\nlocation: http://127.0.0.1:1/\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    one = Server()
    running = await asyncio.start_server(one.serve, "127.0.0.1", 0)
    one.url = f"http://localhost:{running.sockets[0].getsockname()[1]}/hooks?a=1"
    yield one
    running.close()
    await running.wait_closed()


async def no_quotas(_: str) -> list[Record]:
    return []


def happenings(database: Database, quotas: Quotas = no_quotas) -> Happenings:
    return Happenings(Webhooks(database), ApiKeys(database), PolicyHistory(database), quotas)


async def tell(webhooks: Webhooks, webhook: Webhook, event: str, data: object, now: float) -> None:
    """Have one event sent to one webhook."""
    name = f"msg_{webhook.webhook_id}_{now}"
    await webhooks.tell(webhook.webhook_id, event, body_of(event, data, now), delivery_id=name, now=now)


@pytest.fixture
def courier(database: Database, clock: Clock) -> Courier:
    return Courier(Webhooks(database), happenings(database), Destinations(ALLOWED, lookup), clock)


async def add(browser: Browser, url: str, *events: str) -> None:
    answer = await browser.post("/portal/webhooks", {"url": url, "event": list(events or ("key.created",))})
    assert answer.status_code == 201, answer.text


async def one_of(database: Database, partner: str = OWNER) -> Webhook:
    (found,) = await Webhooks(database).of(partner)
    return found


@pytest.mark.requirement("R119")
async def test_an_event_arrives_signed_by_the_standard(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.created")
    webhook = await one_of(database)
    assert webhook.secret not in (await browser.get(f"/portal/webhooks/{webhook.webhook_id}")).text
    await browser.post("/portal/keys", {"name": "batch", "scope": ["marketing:read"]})
    assert await courier.send() == 1
    ((headers, body),) = server.seen
    told = Receiver(webhook.secret).verify(body, headers)
    assert (told["type"], told["data"]["name"]) == ("key.created", "batch")
    assert "waw_live_sk_" not in body.decode()
    assert headers["host"].startswith("localhost:")
    page = (await browser.get(f"/portal/webhooks/{webhook.webhook_id}")).text
    assert "delivered" in page
    assert headers["webhook-id"] in page
    assert await courier.send() == 0


async def test_an_event_that_nobody_asked_for_is_not_sent(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.revoked")
    await browser.post("/portal/keys", {"name": "batch", "scope": ["marketing:read"]})
    assert await courier.send() == 0
    (key,) = await ApiKeys(database).list(OWNER)
    await browser.post(f"/portal/keys/{key.key_id}/revoke", {"why": ""})
    assert await courier.send() == 1
    assert json.loads(server.seen[0][1])["data"]["key_id"] == key.key_id


@pytest.mark.requirement("R119")
@pytest.mark.parametrize("status", [301, 400, 500])
async def test_what_is_not_taken_is_sent_again_and_at_last_given_up(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock, status: int
) -> None:
    await browser.sign_in()
    await add(browser, server.url)
    webhook = await one_of(database)
    server.status = status
    await browser.post(f"/portal/webhooks/{webhook.webhook_id}/test")
    for wait in RETRIES:
        assert await courier.send() == 1
        assert await courier.send() == 0
        clock.now += wait
    assert await courier.send() == 1
    (delivery,) = await Webhooks(database).deliveries(webhook.webhook_id)
    assert (delivery.status, delivery.answer, delivery.attempts) == ("failed", str(status), len(RETRIES) + 1)
    clock.now += 10**6
    assert await courier.send() == 0
    # A person sends it once more, by the same name.
    server.status = 200
    await browser.sign_in()
    await browser.post(f"/portal/webhooks/{webhook.webhook_id}/deliveries/{delivery.delivery_id}")
    assert await courier.send() == 1
    assert {headers["webhook-id"] for headers, _ in server.seen} == {delivery.delivery_id}
    assert "delivered" in (await browser.get(f"/portal/webhooks/{webhook.webhook_id}")).text


@pytest.mark.parametrize(("name", "status"), [("hooks.example", "delivered"), ("other.example", "waiting")])
async def test_the_certificate_has_to_be_that_of_the_name_although_an_address_is_called(
    browser: Browser, database: Database, clock: Clock, name: str, status: str
) -> None:
    server, authority = Server(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def here(*_: object) -> list[str]:
        return ["127.0.0.1"]

    running = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    await browser.sign_in()
    await add(browser, f"https://hooks.example:{running.sockets[0].getsockname()[1]}/x")
    webhook = await one_of(database)
    await browser.post(f"/portal/webhooks/{webhook.webhook_id}/test")
    async with httpx2.AsyncClient(verify=trusting) as http:
        await Courier(Webhooks(database), happenings(database), Destinations(ALLOWED, here), clock, http).send()
    (delivery,) = await Webhooks(database).deliveries(webhook.webhook_id)
    assert delivery.status == status
    assert len(server.seen) == (status == "delivered")
    running.close()


async def test_the_courier_works_until_it_is_stopped(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    stop = asyncio.Event()
    working = asyncio.create_task(courier.run(stop))
    await browser.sign_in()
    await add(browser, server.url)
    await browser.post(f"/portal/webhooks/{(await one_of(database)).webhook_id}/test")
    async with asyncio.timeout(20):
        while not server.seen:
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(working, 15)


async def test_of_two_couriers_one_sends(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, server.url)
    await browser.post(f"/portal/webhooks/{(await one_of(database)).webhook_id}/test")
    other = Courier(Webhooks(database), happenings(database), Destinations(ALLOWED, lookup), clock)
    assert sorted(await asyncio.gather(courier.send(), other.send())) == [0, 1]
    assert len(server.seen) == 1


async def test_a_key_that_ends_soon_is_told_of_once_for_each_of_the_days(
    browser: Browser, database: Database, courier: Courier, clock: Clock, server: Server
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.expiring")
    scopes = [f"partner:{OWNER}:marketing:read"]
    await ApiKeys(database).create(OWNER, scopes, now=clock.moment(), lifetime=timedelta(days=20), name="nightly")
    days = []
    for _ in range(40):
        await happenings(database).look(clock())
        await courier.send()
        clock.now += 43_200
    days = [json.loads(body)["data"]["days_left"] for _, body in server.seen]
    assert days == [14, 7, 1]


@pytest.mark.parametrize("way", ["", "/test", "/remove", "/secret", "/enable", "/disable", "/deliveries/msg_1"])
async def test_nobody_reaches_the_webhook_of_somebody_else(
    open_browser: MakeBrowser, database: Database, way: str
) -> None:
    owner, other = open_browser(), open_browser()
    await owner.sign_in()
    await other.sign_in("user_enterprise")
    await add(owner, "https://hooks.example/x")
    webhook = await one_of(database)
    path = f"/portal/webhooks/{webhook.webhook_id}{way}"
    assert (await (other.post(path) if way else other.get(path))).status_code == 404
    assert await one_of(database) == webhook
    assert "hooks.example/x" not in (await other.get("/portal/webhooks")).text


async def test_a_delivery_is_sent_again_by_its_own_webhook_alone(
    open_browser: MakeBrowser, database: Database, courier: Courier, server: Server
) -> None:
    owner, other = open_browser(), open_browser()
    await owner.sign_in()
    await other.sign_in("user_enterprise")
    await add(owner, server.url)
    await add(other, server.url)
    mine, theirs = await one_of(database), await one_of(database, "acme")
    await owner.post(f"/portal/webhooks/{mine.webhook_id}/test")
    await courier.send()
    (sent,) = await Webhooks(database).deliveries(mine.webhook_id)
    answer = await other.post(f"/portal/webhooks/{theirs.webhook_id}/deliveries/{sent.delivery_id}")
    assert answer.status_code == 404
    assert await courier.send() == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/x",
        "ftp://hooks.example/x",
        "https://inside.example/x",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a00:1]/",
        "https://[2002:a00:1::]/",
        "https://[fd00::1]/",
        "https://192.0.0.192/",
        "https://192.88.99.1/",
        "https://[fec0::1]/",
        "https://[::a00:1]/",
        "https://[::7f00:1]/",
        "https://[::ffff:0:a00:1]/",
        "https://[64:ff9b:1::a00:1]/",
        "https://[3fff::1]/",
        "https://[5f00::1]/",
        "https://hooks.example/\x7f",
        "https://m\u00fcnchen.example/x",
        "https://hooks.example/\u00fc",
        "https://100.64.0.1/",
        "https://224.0.0.1/",
        "https://0.0.0.0/",
        "https://user:password@hooks.example/",
        "https://nowhere.example/",
        "https://",
        "https://hooks.example:99999/",
        "javascript:alert(1)",
        "https://hooks.example/ x",
        "https://hooks.example/" + "x" * 500,
    ],
)
async def test_a_webhook_leads_to_the_public_internet_alone(browser: Browser, database: Database, url: str) -> None:
    await browser.sign_in()
    answer = await browser.post("/portal/webhooks", {"url": url, "event": ["key.created"]})
    assert answer.status_code == 422
    assert await Webhooks(database).of(OWNER) == []


async def test_a_name_that_leads_elsewhere_later_is_not_called(
    browser: Browser, database: Database, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, "https://hooks.example/x")
    webhook = await one_of(database)
    await browser.post(f"/portal/webhooks/{webhook.webhook_id}/test")

    async def rebound(*_: object) -> list[str]:
        return ["10.0.0.7"]

    await Courier(Webhooks(database), happenings(database), Destinations((), rebound), clock).send()
    (delivery,) = await Webhooks(database).deliveries(webhook.webhook_id)
    assert delivery.answer == "That host is not on the public Internet"


@pytest.mark.parametrize(
    "url", ["https://hooks.example/\x7f", "https://m\u00fcnchen.example/x", "https://hooks.example/x"]
)
async def test_a_url_that_nobody_foresaw_is_a_failed_try_and_holds_up_nobody(
    database: Database, clock: Clock, server: Server, url: str
) -> None:
    webhooks = Webhooks(database)

    async def broken(host: str, port: int) -> list[str]:
        if host == "hooks.example":
            raise RuntimeError("as no lookup should")
        return await lookup(host, port)

    bad = await webhooks.add("mallory", url, ["key.created"], now=clock(), by="m")
    good = await webhooks.add("acme", server.url, ["key.created"], now=clock(), by="a")
    for one in (bad, good):
        await tell(webhooks, one, "portal.test", {}, clock())
    stop = asyncio.Event()
    running = asyncio.create_task(
        Courier(webhooks, happenings(database), Destinations(ALLOWED, broken), clock).run(stop)
    )
    async with asyncio.timeout(20):
        while not server.seen or (await webhooks.deliveries(bad.webhook_id))[0].attempts == 0:
            assert not running.done()
            await asyncio.sleep(0.05)
        while (await webhooks.deliveries(bad.webhook_id))[0].answer == "":
            await asyncio.sleep(0.05)
    stop.set()
    await running
    (failed,) = await webhooks.deliveries(bad.webhook_id)
    assert (failed.status, failed.attempts) == ("waiting", 1)


async def test_what_waits_is_never_thrown_away(database: Database, clock: Clock) -> None:
    webhooks = Webhooks(database)
    hook = await webhooks.add("acme", "https://hooks.example/x", ["key.created"], now=clock(), by="a")
    for number in range(205):
        await tell(webhooks, hook, "portal.test", {"number": number}, clock() + number)
    assert len(await webhooks.deliveries(hook.webhook_id, 1000)) == 205


async def test_the_address_that_was_looked_at_is_the_one_that_is_called() -> None:
    place = await Destinations((), lookup).of("https://hooks.example:8443/x?y=1")
    assert (place.url, place.host, place.authority) == (
        "https://203.0.114.7:8443/x?y=1", "hooks.example", "hooks.example:8443",
    )  # fmt: skip

    async def both(*_: object) -> list[str]:
        return ["203.0.114.7", "127.0.0.1"]

    with pytest.raises(UnreachableError):
        await Destinations((ip_network("127.0.0.0/8"),), both).of("https://hooks.example/")


@pytest.mark.parametrize("more", [{"secret": "whsec_x"}, {"partner": "acme"}, {"event": ["key.created", "everything"]}])
async def test_a_form_decides_nothing_but_what_is_in_it(
    browser: Browser, database: Database, more: dict[str, object]
) -> None:
    await browser.sign_in()
    answer = await browser.post("/portal/webhooks", {"url": "https://hooks.example/", "event": ["key.created"], **more})
    assert answer.status_code == 422
    assert await Webhooks(database).of(OWNER) == []


async def test_an_address_is_shown_as_it_is_and_runs_nowhere(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    await add(browser, XSS)
    webhook = await one_of(database)
    for path in ("/portal/webhooks", f"/portal/webhooks/{webhook.webhook_id}"):
        page = (await browser.get(path)).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page


async def test_there_are_only_so_many_and_they_can_be_removed(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    for number in range(MOST):
        await add(browser, f"https://hooks.example/{number}")
    assert (
        await browser.post("/portal/webhooks", {"url": "https://hooks.example/", "event": ["key.created"]})
    ).status_code == 409
    first = (await Webhooks(database).of(OWNER))[0]
    await browser.post(f"/portal/webhooks/{first.webhook_id}/remove")
    rows = [one.entry for one in await AuditLog(database).find(AuditQuery(gateway="portal"))]
    assert [(one.endpoint, one.outcome) for one in rows[:2]] == [
        ("/portal/webhooks/remove", "done"), ("/portal/webhooks/remove", "initiated"),
    ]  # fmt: skip
    assert (rows[2].endpoint, rows[2].reason) == ("/portal/webhooks/add", "hooks.example")
    assert len(await Webhooks(database).of(OWNER)) == MOST - 1
