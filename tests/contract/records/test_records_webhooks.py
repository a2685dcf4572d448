"""Deliveries on every database: each has one courier at a time, and a partner's do not fill the places of others."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from records.api_keys import ApiKeys
from records.database import Database
from records.webhooks import DELIVERED, FAILED, WAITING, Delivery, Webhook, Webhooks

NOW = 1_800_000_000.0
ENDED = {"answer": "204", "took": 3.0, "gone": False}


async def hook(webhooks: Webhooks, partner: str = "acme", *events: str) -> Webhook:
    return await webhooks.add(partner, "https://hooks.example/", events or ("key.created",), now=NOW, by="me")


async def tell(webhooks: Webhooks, one: Webhook, count: int, now: float = NOW) -> None:
    for number in range(count):
        name = f"msg_{one.partner}{number:04}"
        await webhooks.tell(one.webhook_id, "key.created", "{}", delivery_id=name, now=now + number / 1e3)


async def claimed(webhooks: Webhooks, now: float, **how: object) -> list[tuple[Webhook, Delivery]]:
    return list(await webhooks.claim(now, now + 60, **how))  # type: ignore[arg-type]


async def test_of_several_couriers_each_delivery_has_one(database: Database) -> None:
    webhooks = Webhooks(database)
    await tell(webhooks, await hook(webhooks), 30)
    taken = await asyncio.gather(*(claimed(Webhooks(database), NOW + 1, count=30, each=30) for _ in range(4)))
    names = [delivery.delivery_id for some in taken for _, delivery in some]
    assert len(names) == len(set(names)) == 30
    assert await claimed(webhooks, NOW + 60) == []
    assert len(await claimed(webhooks, NOW + 61.5, count=99, each=99)) == 30


async def test_one_partner_gets_so_many_places_and_the_oldest_of_its_deliveries(database: Database) -> None:
    webhooks = Webhooks(database)
    await tell(webhooks, await hook(webhooks, "many"), 50)
    await tell(webhooks, await hook(webhooks, "few"), 2)
    first = await claimed(webhooks, NOW + 1, count=100, each=5)
    assert sorted(one.partner for one, _ in first) == ["few"] * 2 + ["many"] * 5
    assert {delivery.delivery_id[-4:] for one, delivery in first if one.partner == "many"} == {
        f"{number:04}" for number in range(5)
    }
    assert await claimed(webhooks, NOW + 1, each=5, without=["many"]) == []
    assert len(await claimed(webhooks, NOW + 1, each=5, without=["few"])) == 5


async def test_everybodys_first_goes_before_anybodys_second(database: Database) -> None:
    webhooks = Webhooks(database)
    for partner in ("a", "b"):
        await tell(webhooks, await hook(webhooks, partner), 9)
    await tell(webhooks, await hook(webhooks, "late"), 1, NOW + 1)
    taken = await claimed(webhooks, NOW + 2, count=3, each=9)
    assert sorted(one.partner for one, _ in taken) == ["a", "b", "late"]


async def test_who_lost_a_claim_has_nothing_to_say_and_a_resend_begins_anew(database: Database) -> None:
    webhooks = Webhooks(database)
    one = await hook(webhooks)
    await tell(webhooks, one, 1)
    ((_, mine),) = await claimed(webhooks, NOW + 1)
    mine = replace(mine, next_at=NOW + 61)
    assert await webhooks.again(one.webhook_id, mine.delivery_id, NOW + 2)
    assert not await webhooks.settle(mine, status=DELIVERED, now=NOW + 3, next_at=None, **ENDED)  # type: ignore[arg-type]
    ((_, anew),) = await claimed(webhooks, NOW + 3)
    anew = replace(anew, next_at=NOW + 63)
    assert await webhooks.settle(anew, status=DELIVERED, now=NOW + 4, next_at=None, **ENDED)  # type: ignore[arg-type]
    (delivery,) = await webhooks.deliveries(one.webhook_id)
    assert (delivery.status, delivery.attempts, delivery.took) == (DELIVERED, 1, 3.0)


async def test_what_has_ended_is_kept_for_a_while_and_what_waits_for_good(database: Database) -> None:
    webhooks = Webhooks(database)
    one = await hook(webhooks)
    await tell(webhooks, one, 260)
    taken = await claimed(webhooks, NOW + 1, count=250, each=250)
    for _, delivery in taken:
        mine = replace(delivery, next_at=NOW + 61)
        await webhooks.settle(mine, status=FAILED, now=NOW + 2, next_at=None, **ENDED)  # type: ignore[arg-type]
    kept = await webhooks.deliveries(one.webhook_id, 1_000)
    assert len(kept) == 200
    assert sum(delivery.status == WAITING for delivery in kept) == 10


async def test_what_has_a_name_is_known_for_as_long_as_it_may_happen_again(database: Database) -> None:
    webhooks = Webhooks(database)
    one = await hook(webhooks)
    await webhooks.happened("acme", "key.created", {}, NOW, "quota_20270115")
    await tell(webhooks, one, 205, NOW + 1)
    for later in (2, 3):
        for _, delivery in await claimed(webhooks, NOW + later, count=250, each=250):
            mine = replace(delivery, next_at=NOW + later + 60)
            await webhooks.settle(mine, status=FAILED, now=NOW + later, next_at=None, **ENDED)  # type: ignore[arg-type]
    assert len(await webhooks.deliveries(one.webhook_id, 1_000)) == 201
    await webhooks.happened("acme", "key.created", {}, NOW + 9, "quota_20270115")
    assert await claimed(webhooks, NOW + 99) == []


async def test_a_key_and_its_event_are_there_together_for_whoever_wants_to_know(database: Database) -> None:
    webhooks, keys = Webhooks(database), ApiKeys(database)
    mine, other = await hook(webhooks), await hook(webhooks, "globex")
    deaf, off = await hook(webhooks, "acme", "key.revoked"), await hook(webhooks)
    await webhooks.switch(off.webhook_id, "by hand")
    now = datetime.fromtimestamp(NOW, UTC)
    await keys.create("acme", ["partner:acme:marketing:read"], now=now, name="nightly")
    told = {one.webhook_id: len(await webhooks.deliveries(one.webhook_id)) for one in (mine, other, deaf, off)}
    assert told == {mine.webhook_id: 1, other.webhook_id: 0, deaf.webhook_id: 0, off.webhook_id: 0}
    assert await webhooks.wanting("key.created") == {"acme", "globex"}


@pytest.mark.parametrize("name", ["", "once"])
async def test_what_is_seen_twice_is_told_once_where_it_has_a_name(database: Database, name: str) -> None:
    webhooks = Webhooks(database)
    one = await hook(webhooks)
    for _ in range(3):
        await webhooks.happened("acme", "key.created", {}, NOW, name)
    assert len(await webhooks.deliveries(one.webhook_id)) == (1 if name else 3)


async def test_a_new_secret_keeps_the_old_one_for_its_time(database: Database) -> None:
    webhooks = Webhooks(database)
    old = await hook(webhooks)
    secret = await webhooks.renew(old.webhook_id, NOW + 10)
    (new,) = await webhooks.of("acme")
    assert new.secrets(NOW + 9) == (secret, old.secret)
    assert new.secrets(NOW + 10) == (secret,)
    assert old.secret not in repr(new)
