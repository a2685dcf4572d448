"""Partners' keys through their whole life (R93-R97)."""

import hashlib
import re
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from sqlalchemy import text

from records.api_keys import ApiKeys, IssuedKey
from records.database import Database
from records.errors import KeyRefusedError, UnknownKeyError
from records.fact_versions import API_KEYS, FactVersions
from records.key_usage import KeyUsage
from tests.contract.records.conftest import NOW

SCOPE = "partner:acme:marketing:read"
DAY = timedelta(days=1)


@pytest.fixture
def keys(database: Database) -> ApiKeys:
    return ApiKeys(database)


async def made(keys: ApiKeys, **more: object) -> IssuedKey:
    return await keys.create("acme", [SCOPE], now=NOW, **more)  # type: ignore[arg-type]


@pytest.mark.requirement("R93")
async def test_a_key_is_the_prefix_and_twenty_random_base62_characters(keys: ApiKeys) -> None:
    first, second = await made(keys), await made(keys)
    assert re.fullmatch("waw_live_sk_[0-9A-Za-z]{20}", first.text)
    assert len(first.text) == 32
    assert first.text != second.text


@pytest.mark.attack("A60")
@pytest.mark.requirement("R94", "R95")
async def test_only_the_sha_256_of_a_key_is_stored(keys: ApiKeys, database: Database, tmp_path: Path) -> None:
    issued = await made(keys)
    async with database.reading() as session:
        (row,) = (await session.execute(text("SELECT * FROM api_keys"))).all()
    assert hashlib.sha256(issued.text.encode()).hexdigest() in row
    assert not any(issued.text in str(value) for value in row)
    assert not any(issued.text.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.requirement("R95")
async def test_a_key_shows_itself_in_no_representation(keys: ApiKeys) -> None:
    issued = await made(keys)
    assert issued.text not in repr(issued)
    assert issued.text not in str(await keys.list())


async def test_a_key_is_found_by_its_sha_256(keys: ApiKeys) -> None:
    issued = await made(keys, networks=["192.0.2.0/24", "2001:db8::/32"], tier="enterprise", name="billing")
    live = await keys.live(NOW)
    key = live.by_digest[hashlib.sha256(issued.text.encode()).digest()]
    assert key == issued.key
    assert key.networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert key.scopes == {SCOPE}
    assert (key.tier, key.name, key.created_at) == ("enterprise", "billing", NOW)


async def test_without_networks_a_key_works_from_anywhere_and_in_tier_business(keys: ApiKeys) -> None:
    key = (await made(keys)).key
    assert key.networks is None
    assert key.tier == "business"


@pytest.mark.requirement("R96")
async def test_a_key_expires_after_ninety_days(keys: ApiKeys) -> None:
    key = (await made(keys)).key
    assert key.expires_at == NOW + 90 * DAY
    assert key.status(NOW + 90 * DAY - timedelta(microseconds=1)) == "live"
    assert key.status(NOW + 90 * DAY) == "expired"
    assert len((await keys.live(NOW + 89 * DAY)).by_digest) == 1
    assert len((await keys.live(NOW + 90 * DAY)).by_digest) == 0


@pytest.mark.requirement("R96")
async def test_a_rotated_key_goes_on_until_the_chosen_time(keys: ApiKeys) -> None:
    old = await made(keys, networks=["192.0.2.0/24"], tier="enterprise")
    new = await keys.rotate(old.key.key_id, now=NOW + DAY, old_until=NOW + 2 * DAY)
    assert len((await keys.live(NOW + DAY)).by_digest) == 2
    (left,) = (await keys.live(NOW + 2 * DAY)).by_digest.values()
    assert left == new.key
    assert (left.partner, left.scopes, left.tier, left.networks) == (
        old.key.partner, old.key.scopes, old.key.tier, old.key.networks,
    )  # fmt: skip
    assert left.expires_at == NOW + 91 * DAY
    before = next(key for key in await keys.list() if key.key_id == old.key.key_id)
    assert before.replaced_by == new.key.key_id


async def test_rotation_never_lengthens_the_life_of_the_old_key(keys: ApiKeys) -> None:
    old = await made(keys, lifetime=2 * DAY)
    await keys.rotate(old.key.key_id, now=NOW, old_until=NOW + 30 * DAY)
    assert len((await keys.live(NOW + 2 * DAY)).by_digest) == 1


async def test_rotation_with_no_overlap_ends_the_old_key_at_once(keys: ApiKeys) -> None:
    old = await made(keys)
    new = await keys.rotate(old.key.key_id, now=NOW, old_until=NOW - DAY)
    assert list((await keys.live(NOW)).by_digest.values()) == [new.key]


async def test_a_key_is_rotated_once(keys: ApiKeys) -> None:
    old = await made(keys)
    new = await keys.rotate(old.key.key_id, now=NOW, old_until=NOW + DAY)
    with pytest.raises(KeyRefusedError, match=new.key.key_id):
        await keys.rotate(old.key.key_id, now=NOW, old_until=NOW + DAY)


async def test_a_dead_key_cannot_be_rotated_to_life(keys: ApiKeys) -> None:
    expired, revoked = await made(keys, lifetime=DAY), await made(keys)
    await keys.revoke(revoked.key.key_id, now=NOW)
    with pytest.raises(KeyRefusedError, match="expired"):
        await keys.rotate(expired.key.key_id, now=NOW + DAY, old_until=NOW + 2 * DAY)
    with pytest.raises(KeyRefusedError, match="revoked"):
        await keys.rotate(revoked.key.key_id, now=NOW, old_until=NOW + DAY)
    assert len(await keys.list()) == 2


async def test_a_revoked_key_is_live_no_more(keys: ApiKeys) -> None:
    issued = await made(keys)
    key, version = await keys.revoke(issued.key.key_id, now=NOW + DAY)
    assert key.status(NOW) == "revoked"
    assert key.revoked_at == NOW + DAY
    assert (await keys.live(NOW)).by_digest == {}
    # Again: nothing changes, and there is nothing new to wait for.
    assert await keys.revoke(issued.key.key_id, now=NOW + 2 * DAY) == (key, version)


async def test_a_key_that_is_not_there_is_said_so(keys: ApiKeys) -> None:
    with pytest.raises(UnknownKeyError, match="k_none"):
        await keys.revoke("k_none", now=NOW)
    with pytest.raises(UnknownKeyError, match="k_none"):
        await keys.rotate("k_none", now=NOW, old_until=NOW)


@pytest.mark.requirement("R97")
@pytest.mark.parametrize(
    ("partner", "change"),
    [
        ("acme", {"scopes": ["partner:beta:marketing:read"]}),
        ("acme", {"scopes": ["marketing:read"]}),
        ("acme", {"scopes": ["partner:acme:marketing:own"]}),
        ("acme", {"scopes": ["partner:acme:*:read"]}),
        ("acme", {"scopes": ["partner:acme:marketing:read\n"]}),
        ("acme", {"scopes": []}),
        ("Acme", {"scopes": ["partner:Acme:marketing:read"]}),
        ("", {}),
        ("a:b", {"scopes": ["partner:a:b:marketing:read"]}),
        ("acme", {"tier": "internal"}),
        ("acme", {"tier": "Enterprise"}),
        ("acme", {"networks": ["10.0.0.1/8"]}),
        ("acme", {"networks": ["anywhere"]}),
        ("acme", {"networks": ["::ffff:203.0.113.0/120"]}),
        ("acme", {"lifetime": timedelta()}),
        ("acme", {"lifetime": -DAY}),
        ("acme", {"lifetime": 90 * DAY + timedelta(seconds=1)}),
    ],
)
async def test_a_key_that_would_not_mean_what_it_says_is_not_made(
    keys: ApiKeys, partner: str, change: dict[str, object]
) -> None:
    given = {"scopes": [SCOPE], "now": NOW, **change}
    with pytest.raises(KeyRefusedError):
        await keys.create(partner, **given)  # type: ignore[arg-type]
    assert await keys.list() == []


async def test_keys_are_listed_in_order_and_by_partner(keys: ApiKeys) -> None:
    first = await made(keys)
    second = await keys.create("beta", ["partner:beta:sales:*"], now=NOW + DAY)
    assert await keys.list() == [first.key, second.key]
    assert await keys.list("beta") == [second.key]
    assert await keys.list("nobody") == []


async def test_every_change_has_a_version_of_its_own(keys: ApiKeys, database: Database) -> None:
    versions = FactVersions(database)
    assert await versions.current(API_KEYS) == 0
    first = await made(keys)
    second = await keys.rotate(first.key.key_id, now=NOW, old_until=NOW + DAY)
    _, third = await keys.revoke(second.key.key_id, now=NOW)
    assert [first.version, second.version, third] == [1, 2, 3]
    assert (await keys.live(NOW)).version == await versions.current(API_KEYS) == 3


async def test_a_change_that_fails_leaves_no_version_behind(keys: ApiKeys, database: Database) -> None:
    with pytest.raises(UnknownKeyError):
        await keys.revoke("k_none", now=NOW)
    assert await FactVersions(database).current(API_KEYS) == 0


async def test_the_last_use_is_recorded_and_never_goes_back(keys: ApiKeys, database: Database) -> None:
    used, unused = await made(keys), await made(keys)
    here, there = KeyUsage(database), KeyUsage(database)
    here.note(used.key.key_id, NOW + timedelta(seconds=5))
    here.note(used.key.key_id, NOW + timedelta(seconds=3))
    there.note(used.key.key_id, NOW + timedelta(seconds=4))
    there.note("k_gone", NOW)
    assert await here.flush() == 1
    assert await there.flush() == 2
    assert await here.flush() == 0
    last = {key.key_id: key.last_used_at for key in await keys.list()}
    assert last == {used.key.key_id: NOW + timedelta(seconds=5), unused.key.key_id: None}


async def test_uses_that_could_not_be_written_are_written_later(keys: ApiKeys, database: Database) -> None:
    issued = await made(keys)
    usage = KeyUsage(database)
    usage.note(issued.key.key_id, NOW)
    async with database.writing() as session:
        await session.execute(text("ALTER TABLE api_keys RENAME TO elsewhere"))
    with pytest.raises(Exception, match="api_keys"):
        await usage.flush()
    async with database.writing() as session:
        await session.execute(text("ALTER TABLE elsewhere RENAME TO api_keys"))
    assert await usage.flush() == 1
    assert (await keys.list())[0].last_used_at == NOW


@pytest.mark.parametrize(
    "what",
    ["tier = 'gold'", """networks = '["192.0.2.1/24"]'""", "networks = '7'", "scopes = '7'", "digest = 'no digest'"],
)
async def test_a_key_that_a_later_version_has_made_closes_nothing_to_the_others(
    what: str, keys: ApiKeys, database: Database
) -> None:
    odd, good = await made(keys), await made(keys)
    async with database.writing() as session:
        await session.execute(text(f"UPDATE api_keys SET {what} WHERE id = :id"), {"id": odd.key.key_id})
    live = await keys.live(NOW)
    assert list(live.by_digest.values()) == [good.key]
    assert live.unreadable == (odd.key.key_id,)
    assert await keys.list() == [good.key]
    assert await keys.expiring(NOW) == [good.key]
