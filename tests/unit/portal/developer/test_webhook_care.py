"""Webhooks over time: secrets are replaced, servers go away, are slow, or say that they want no more."""

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from standardwebhooks.webhooks import Webhook as Receiver
from standardwebhooks.webhooks import WebhookVerificationError

from apibank.developer.courier import RETRIES, Courier
from apibank.developer.destinations import Destinations
from portal.developer.person import Person
from portal.developer.webhooks import TEST_EVENT, offered
from portal.limits_api import Record
from records.api_keys import ApiKeys
from records.database import Database
from records.policy_history import Change, Entry, PolicyHistory, Result
from records.tables import WebhookRow
from records.webhooks import DELIVERED, FAILED, WAITING, Webhooks
from tests.support.stack import ROOT
from tests.unit.portal.developer.conftest import ALLOWED, Clock, lookup
from tests.unit.portal.developer.test_webhooks import (
    OWNER,
    MakeBrowser,
    Server,
    add,
    courier,
    happenings,
    one_of,
    server,
    tell,
)
from tests.unit.portal.developer.world import Browser

__all__ = ["courier", "server"]
DAY = 86_400.0


@pytest.mark.requirement("R119")
async def test_a_key_and_what_is_told_of_it_are_written_together_whoever_changes_it(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.created", "key.rotated", "key.revoked")
    keys, scopes = ApiKeys(database), [f"partner:{OWNER}:marketing:read"]
    # As the command line and the control API do it.
    made = await keys.create(OWNER, scopes, now=clock.moment(), name="nightly")
    rotated = await keys.rotate(made.key.key_id, now=clock.moment(), old_until=clock.moment())
    for _ in range(2):
        await keys.revoke(rotated.key.key_id, now=clock.moment())
    await courier.send()
    told = [json.loads(body) for _, body in server.seen]
    assert sorted(one["type"] for one in told) == ["key.created", "key.revoked", "key.rotated"]
    assert {one["data"]["name"] for one in told} == {"nightly"}
    assert next(one for one in told if one["type"] == "key.rotated")["data"]["replaces"] == made.key.key_id


async def test_a_change_that_fails_tells_nobody(
    browser: Browser,
    database: Database,
    courier: Courier,
    server: Server,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.created")

    async def lost(*_: object, **__: object) -> None:
        raise OSError("between the key and its event")

    monkeypatch.setattr("records.api_keys.happened", lost)
    with pytest.raises(OSError, match="between"):
        await ApiKeys(database).create(OWNER, [f"partner:{OWNER}:marketing:read"], now=clock.moment())
    assert await ApiKeys(database).list(OWNER) == []
    assert await courier.send() == 0


@pytest.mark.requirement("R119")
async def test_for_a_day_both_secrets_sign_and_then_the_new_one_alone(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, server.url)
    old = await one_of(database)
    path = f"/portal/webhooks/{old.webhook_id}"
    answer = await browser.post(f"{path}/secret")
    assert answer.status_code == 201
    new = await one_of(database)
    assert new.secret in answer.text
    assert old.secret not in answer.text
    await browser.post(f"{path}/test")
    await courier.send()
    headers, body = server.seen[-1]
    for secret in (old.secret, new.secret):
        Receiver(secret).verify(body, headers)
    clock.now += DAY + 1
    await tell(Webhooks(database), new, "portal.test", {}, clock())
    await courier.send()
    headers, body = server.seen[-1]
    # The library refuses what is old, and the portal's time is the test's.
    headers = {**headers, "webhook-timestamp": headers["webhook-timestamp"]}
    assert len(headers["webhook-signature"].split()) == 1
    assert new.secrets(clock()) == (new.secret,)
    with pytest.raises(WebhookVerificationError):
        Receiver(old.secret).verify(body, headers)


async def test_a_server_that_wants_no_more_is_left_alone_until_its_owner_says_otherwise(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    await browser.sign_in()
    await add(browser, server.url)
    path = f"/portal/webhooks/{(await one_of(database)).webhook_id}"
    server.status = 410
    await browser.post(f"{path}/test")
    await courier.send()
    (delivery,) = await Webhooks(database).deliveries((await one_of(database)).webhook_id)
    assert (delivery.status, delivery.answer) == (FAILED, "410")
    assert "it wants no more" in (await browser.get(path)).text
    await browser.post("/portal/keys", {"name": "unseen", "scope": ["marketing:read"]})
    assert await courier.send() == 0
    server.status = 204
    await browser.post(f"{path}/enable")
    await browser.post("/portal/keys", {"name": "seen", "scope": ["marketing:read"]})
    await courier.send()
    assert [json.loads(body)["data"].get("name") for _, body in server.seen[1:]] == ["seen"]


async def test_what_is_switched_off_by_hand_waits_and_goes_on(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    await browser.sign_in()
    await add(browser, server.url)
    path = f"/portal/webhooks/{(await one_of(database)).webhook_id}"
    await browser.post(f"{path}/test")
    await browser.post(f"{path}/disable")
    assert await courier.send() == 0
    assert "you have switched it off" in (await browser.get(path)).text
    await browser.post(f"{path}/enable")
    assert await courier.send() == 1


async def test_a_server_that_takes_nothing_for_five_days_is_switched_off_and_one_answer_begins_anew(
    database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    webhooks = Webhooks(database)
    hook = await webhooks.add(OWNER, server.url, ["key.created"], now=clock(), by="me")
    server.status = 500
    for _ in range(2):
        await tell(webhooks, hook, "portal.test", {}, clock())
        for wait in (*RETRIES, 0.0):
            assert not (await one_of(database)).disabled
            await courier.send()
            clock.now += wait
    assert (await one_of(database)).disabled == "failing"
    await webhooks.switch(hook.webhook_id, "")
    server.status = 500
    await tell(webhooks, hook, "portal.test", {}, clock())
    await courier.send()
    assert (await one_of(database)).failing_since is not None
    server.status = 204
    clock.now += RETRIES[0]
    await courier.send()
    assert (await one_of(database)).failing_since is None


async def test_a_courier_that_stood_still_does_not_overrule_the_one_that_took_over(
    database: Database, server: Server, clock: Clock
) -> None:
    webhooks = Webhooks(database)
    hook = await webhooks.add(OWNER, server.url, ["key.created"], now=clock(), by="me")
    await tell(webhooks, hook, "portal.test", {}, clock())
    ((_, paused),) = await webhooks.claim(clock(), clock() + 60)
    paused = replace(paused, next_at=clock() + 60)
    clock.now += 61
    other = Courier(webhooks, happenings(database), Destinations(ALLOWED, lookup), clock)
    assert await other.send() == 1
    settled = await webhooks.settle(
        paused, status=WAITING, answer="late", took=1.0, now=clock(), next_at=clock(), gone=False
    )
    assert not settled
    (delivery,) = await webhooks.deliveries(hook.webhook_id)
    assert (delivery.status, delivery.attempts, delivery.answer) == (DELIVERED, 1, "204")
    assert delivery.took is not None


async def test_servers_that_are_slow_hold_up_nobody_elses(database: Database, server: Server, clock: Clock) -> None:
    webhooks, hanging = Webhooks(database), asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hanging.wait()
        writer.close()

    slow = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://localhost:{slow.sockets[0].getsockname()[1]}/"
    bad = await webhooks.add("slow", url, ["key.created"], now=clock(), by="me")
    good = await webhooks.add("quick", server.url, ["key.created"], now=clock(), by="me")
    for number in range(300):
        await tell(webhooks, bad, "portal.test", {}, clock() - 300 + number)
    await tell(webhooks, good, "portal.test", {}, clock())
    stop = asyncio.Event()
    one = Courier(webhooks, happenings(database), Destinations(ALLOWED, lookup), clock)
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(9):
        while not server.seen:
            await asyncio.sleep(0.05)
    stop.set()
    hanging.set()
    await running
    slow.close()


@pytest.mark.requirement("R96", "R119")
async def test_a_key_that_came_to_its_end_is_told_of_once(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "key.expired")
    scopes = [f"partner:{OWNER}:marketing:read"]
    keys = ApiKeys(database)
    made = await keys.create(OWNER, scopes, now=clock.moment(), lifetime=timedelta(days=1), name="nightly")
    gone = await keys.create(OWNER, scopes, now=clock.moment(), lifetime=timedelta(days=1), name="revoked")
    await keys.revoke(gone.key.key_id, now=clock.moment())
    for _ in range(4):
        await happenings(database).look(clock())
        clock.now += DAY / 2 + 1
    await courier.send()
    assert [json.loads(body)["data"]["key_id"] for _, body in server.seen] == [made.key.key_id]


@pytest.mark.requirement("R119")
async def test_a_quota_that_is_spent_is_told_of_once_in_its_window(
    browser: Browser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    await browser.sign_in()
    await add(browser, server.url, "quota.reached")
    asked: list[str] = []

    def row(unit: str, remaining: int) -> Record:
        return {
            "gateway": "marketing", "limit": f"per-{unit}", "unit": unit, "figure": 10, "remaining": remaining,
            "reset_seconds": 60.0, "counted_as": f"partner:{OWNER}",
        }  # fmt: skip

    async def quotas(partner: str) -> list[Record]:
        asked.append(partner)
        return [row("day", 0), row("month", 3), row("minute", 0)]

    async def nobody_knows(_: str) -> list[Record]:
        raise LookupError("no gateway answers")

    clock.now = clock.now // DAY * DAY + 1
    for _ in range(3):
        await happenings(database, quotas).look(clock())
        await happenings(database, nobody_knows).look(clock())
        clock.now += DAY / 3
    clock.now += DAY / 3
    await happenings(database, quotas).look(clock())
    await courier.send()
    assert set(asked) == {OWNER}
    told = [json.loads(body)["data"] for _, body in server.seen]
    assert [(one["limit"], one["unit"], one["figure"]) for one in told] == [("per-day", "day", 10)] * 2


@pytest.mark.requirement("R119")
async def test_a_policy_that_did_not_become_live_is_told_to_administrators_alone(
    open_browser: MakeBrowser, database: Database, courier: Courier, server: Server, clock: Clock
) -> None:
    customer = open_browser()
    await customer.sign_in()
    form = {"url": server.url, "event": ["policy.rejected"]}
    assert (await customer.post("/portal/webhooks", form)).status_code == 422
    assert "policy.rejected" not in (await customer.get("/portal/webhooks")).text
    await Webhooks(database).add("person-admin_1", server.url, ["policy.rejected"], now=clock(), by="admin")
    history = PolicyHistory(database)
    for result in (Result.LIVE, Result.REFUSED, Result.ROLLED_BACK):
        entry = Entry(
            gateway="marketing", version="ab" * 8, text="", at=clock.moment(), author="ana", message="",
            source=Change.APPLY, result=result, detail="bad regex", canary_percent=None,
        )  # fmt: skip
        await history.add(entry)
    for _ in range(2):
        await happenings(database).look(clock())
    await courier.send()
    told = [json.loads(body)["data"] for _, body in server.seen]
    assert sorted(one["result"] for one in told) == ["refused", "rolled back"]
    assert {one["detail"] for one in told} == {"bad regex"}


@pytest.mark.requirement("R119")
async def test_the_documented_receiver_takes_each_event_once_and_nothing_that_is_not_ours(
    browser: Browser, database: Database, courier: Courier, server: Server
) -> None:
    page = (ROOT / "docs" / "operate" / "webhooks.md").read_text("utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    space: dict[str, Callable[[str, dict[str, str], bytes, set[str]], dict[str, object] | None]] = {}
    exec(compile(code, "webhooks.md", "exec"), space)
    received = space["received"]
    await browser.sign_in()
    await add(browser, server.url)
    webhook = await one_of(database)
    await browser.post(f"/portal/webhooks/{webhook.webhook_id}/test")
    await courier.send()
    (headers, body), known = server.seen[0], set[str]()
    event = received(webhook.secret, headers, body, known)
    assert event is not None
    assert event["type"] == "portal.test"
    assert received(webhook.secret, headers, body, known) is None
    for wrong in (body + b" ", body.replace(b"portal", b"Portal")):
        with pytest.raises(WebhookVerificationError):
            received(webhook.secret, headers, wrong, set())


def test_every_event_is_documented() -> None:
    page = (ROOT / "docs" / "operate" / "webhooks.md").read_text("utf-8")
    administrator = Person("admin_1", "Asha", "admin", "internal", ())
    documented = set(re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", page, re.MULTILINE))
    assert documented == {*offered(administrator), TEST_EVENT}


_SENDS = """\
import asyncio, sys
from apibank.developer.courier import Courier
from apibank.developer.destinations import Destinations
from records.database import Database
from records.webhooks import Webhooks
from tests.unit.portal.developer.conftest import ALLOWED, lookup
from tests.unit.portal.developer.test_webhooks import happenings

async def main():
    async with Database(sys.argv[1]) as database:
        await Courier(Webhooks(database), happenings(database), Destinations(ALLOWED, lookup)).run(asyncio.Event())

asyncio.run(main())
"""


@pytest.mark.requirement("R119")
async def test_what_a_killed_process_was_sending_is_sent_again_by_another_under_the_same_name(
    database: Database, tmp_path: Path, server: Server
) -> None:
    arrived = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await asyncio.Event().wait()

    webhooks, now = Webhooks(database), time.time()
    holding = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://localhost:{holding.sockets[0].getsockname()[1]}/"
    hook = await webhooks.add(OWNER, url, ["key.created"], now=now, by="me")
    await tell(webhooks, hook, "portal.test", {}, now)
    place = f"sqlite:///{tmp_path / 'portal.db'}"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", _SENDS, place, cwd=ROOT)
    try:
        await asyncio.wait_for(arrived.wait(), 60)
    finally:
        child.kill()
        await child.wait()
    holding.close()
    async with database.writing() as session:
        await session.execute(update(WebhookRow).values(url=server.url))
    # Nobody else's for as long as the claim lasts, and then the next one's.
    for later, sent in ((0.0, 0), (61.0, 1)):
        ahead = Clock()
        ahead.now = time.time() + later
        other = Courier(webhooks, happenings(database), Destinations(ALLOWED, lookup), ahead)
        assert await other.send() == sent
    (headers, _), (delivery,) = server.seen[0], await webhooks.deliveries(hook.webhook_id)
    assert headers["webhook-id"] == delivery.delivery_id
    assert delivery.status == DELIVERED
