"""Partners' API keys (R93-R97): made, listed, rotated with overlap, revoked, and loaded for authz.

The text of a key exists once, in what `create` and `rotate` return; the database has its SHA-256 alone.
"""

import asyncio
import hashlib
import re
import secrets
import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from policy.kinds import Tier
from records.database import Database
from records.errors import KeyRefusedError, UnknownKeyError
from records.events import happened
from records.fact_versions import API_KEYS, bump, version_of
from records.tables import KeyRow

PREFIX: Final = "waw_live_sk_"
LIFETIME: Final = timedelta(days=90)

# Read at a time, between which whoever decides has its turn.
_AT_ONCE: Final = 100
_BASE62: Final = string.digits + string.ascii_letters
_RANDOM_CHARACTERS: Final = 20
_TIERS: Final = (Tier.FREE, Tier.BUSINESS, Tier.ENTERPRISE)
_PARTNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SCOPE: Final = re.compile(r"partner:(?P<partner>[^:]+):[a-z][a-z0-9_-]{0,62}:(read|write|\*)")

Networks = tuple[IPv4Network | IPv6Network, ...]


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its text. `networks` None admits any address, an empty tuple none."""

    key_id: str
    partner: str
    name: str
    tier: Tier
    scopes: frozenset[str]
    networks: Networks | None
    created_at: datetime
    created_by: str
    expires_at: datetime
    revoked_at: datetime | None
    replaced_by: str | None
    last_used_at: datetime | None

    def status(self, now: datetime) -> str:
        """`live`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "live" if now < self.expires_at else "expired"


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just made. `text` is the key itself: show it once. `version` is the one to wait for."""

    key: ApiKey
    version: int
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LiveKeys:
    """Every key that is neither revoked nor expired, by the SHA-256 (32 bytes) of its text.

    `unreadable`: ids of keys that say what this version knows nothing of, such as one that a later version has made.
    They open nothing here, and close nothing to the others.
    """

    version: int
    by_digest: Mapping[bytes, ApiKey]
    unreadable: tuple[str, ...] = ()


class ApiKeys:
    """The keys in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        partner: str,
        scopes: Collection[str],
        *,
        now: datetime,
        tier: str = Tier.BUSINESS,
        networks: Sequence[str] = (),
        lifetime: timedelta = LIFETIME,
        name: str = "",
        created_by: str = "",
    ) -> IssuedKey:
        """Make a key. No networks: it works from any address. Raises KeyRefusedError, which says what is wrong."""
        _check_lifetime(lifetime)
        key = KeyRow(
            partner=_partner(partner),
            name=name,
            tier=_tier(tier),
            scopes=_scopes(partner, scopes),
            networks=[str(network) for network in _networks(networks)] or None,
            created_at=now,
            created_by=created_by,
            expires_at=now + lifetime,
        )
        async with self._database.writing() as session:
            issued = await self._issue(session, key)
            await self._tell(session, "key.created", issued.key, now)
            return issued

    async def rotate(
        self,
        key_id: str,
        *,
        now: datetime,
        old_until: datetime,
        lifetime: timedelta = LIFETIME,
        created_by: str = "",
    ) -> IssuedKey:
        """Make a key with the rights of another, which goes on until `old_until`, or its own end where that is sooner.

        Raises UnknownKeyError, or KeyRefusedError where the old key is not live or was rotated before.
        """
        _check_lifetime(lifetime)
        async with self._database.writing() as session:
            old = await _row(session, key_id)
            if (status := _read(old).status(now)) != "live":
                raise KeyRefusedError(f"key {key_id} is {status}: make a new one")
            if old.replaced_by is not None:
                raise KeyRefusedError(f"key {key_id} was rotated before, to {old.replaced_by}: rotate that one")
            new = KeyRow(
                partner=old.partner,
                name=old.name,
                tier=old.tier,
                scopes=old.scopes,
                networks=old.networks,
                created_at=now,
                created_by=created_by,
                expires_at=now + lifetime,
            )
            issued = await self._issue(session, new)
            old.replaced_by = new.id
            old.expires_at = min(old.expires_at, max(old_until, now))
            await self._tell(session, "key.rotated", issued.key, now, replaces=old.id)
            return issued

    async def revoke(self, key_id: str, *, now: datetime) -> tuple[ApiKey, int]:
        """End a key; the key as it is now, and the version to wait for. A second time changes nothing.

        Raises UnknownKeyError.
        """
        async with self._database.writing() as session:
            row = await _row(session, key_id)
            if row.revoked_at is not None:
                return _read(row), await version_of(session, API_KEYS)
            row.revoked_at = now
            key = _read(row)
            await self._tell(session, "key.revoked", key, now)
            return key, await bump(self._database, session, API_KEYS)

    async def list(self, partner: str | None = None) -> Sequence[ApiKey]:
        """All keys, or a partner's, in the order in which they were made."""
        query = select(KeyRow).order_by(KeyRow.created_at, KeyRow.id)
        if partner is not None:
            query = query.where(KeyRow.partner == partner)
        async with self._database.reading() as session:
            return _readable(await session.scalars(query))[0]

    async def expiring(self, now: datetime, within: timedelta | None = None) -> Sequence[ApiKey]:
        """Live keys that nothing has replaced, those that end first first; `within`: that end so soon."""
        query = select(KeyRow).where(KeyRow.revoked_at.is_(None), KeyRow.replaced_by.is_(None), KeyRow.expires_at > now)
        if within is not None:
            query = query.where(KeyRow.expires_at <= now + within)
        async with self._database.reading() as session:
            return _readable(await session.scalars(query.order_by(KeyRow.expires_at, KeyRow.id)))[0]

    async def ended(self, since: datetime, until: datetime) -> Sequence[ApiKey]:
        """Keys that came to their end between two moments, neither revoked nor replaced."""
        query = select(KeyRow).where(KeyRow.revoked_at.is_(None), KeyRow.replaced_by.is_(None))
        within = query.where(KeyRow.expires_at > since, KeyRow.expires_at <= until)
        async with self._database.reading() as session:
            return _readable(await session.scalars(within.order_by(KeyRow.expires_at, KeyRow.id)))[0]

    async def live(self, now: datetime) -> LiveKeys:
        """What authz decides by. Keys that expire later are still in it: authz looks at `expires_at` itself."""
        # Rows and no objects, a few at a time: a gateway reads all of them after each change, beside its checks.
        query = (
            select(*KeyRow.__table__.columns)
            .where(KeyRow.revoked_at.is_(None), KeyRow.expires_at > now)
            .execution_options(yield_per=_AT_ONCE)
        )
        by_digest: dict[bytes, ApiKey] = {}
        unreadable: list[str] = []
        async with self._database.reading() as session:
            # The version first: keys that are newer than it do no harm, a version that is newer than them would.
            version = await version_of(session, API_KEYS)
            async for rows in (await session.stream(query)).partitions():
                digests = {row.id: row.digest for row in rows}
                # They have the columns of a KeyRow by the same names.
                keys, others = _readable(cast("Sequence[KeyRow]", rows))
                by_digest.update((bytes.fromhex(digests[key.key_id]), key) for key in keys)
                unreadable += others
                await asyncio.sleep(0)
        return LiveKeys(version, by_digest, tuple(unreadable))

    async def _tell(self, session: AsyncSession, event: str, key: ApiKey, now: datetime, **more: str) -> None:
        # With the change itself: whoever makes it, by whichever door, its partner's webhooks learn of it.
        about = {"key_id": key.key_id, "name": key.name, "scopes": sorted(key.scopes), **more}
        await happened(self._database, session, key.partner, event, about, now.timestamp())

    async def _issue(self, session: AsyncSession, row: KeyRow) -> IssuedKey:
        text = PREFIX + "".join(secrets.choice(_BASE62) for _ in range(_RANDOM_CHARACTERS))
        row.id = f"k_{secrets.token_hex(8)}"
        row.digest = hashlib.sha256(text.encode("ascii")).hexdigest()
        session.add(row)
        await session.flush()
        return IssuedKey(_read(row), await bump(self._database, session, API_KEYS), text)


async def _row(session: AsyncSession, key_id: str) -> KeyRow:
    # Locked (PostgreSQL; SQLite's writers are alone anyway), so that two rotations cannot both succeed.
    row = await session.get(KeyRow, key_id, with_for_update=True)
    if row is None:
        raise UnknownKeyError(f"there is no key {key_id}")
    return row


def _readable(rows: Iterable[KeyRow]) -> tuple[list[ApiKey], tuple[str, ...]]:
    """The keys, and the ids of those that cannot be read."""
    keys: list[ApiKey] = []
    unreadable: list[str] = []
    for row in rows:
        try:
            bytes.fromhex(row.digest)
            keys.append(_read(row))
        except (ValueError, TypeError):
            unreadable.append(row.id)
    return keys, tuple(unreadable)


def _read(row: KeyRow) -> ApiKey:
    return ApiKey(
        key_id=row.id,
        partner=row.partner,
        name=row.name,
        tier=Tier(row.tier),
        scopes=frozenset(row.scopes),
        networks=None if row.networks is None else tuple(_network(network) for network in row.networks),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        replaced_by=row.replaced_by,
        last_used_at=row.last_used_at,
    )


# Partners' networks are a few, in many keys.
_network = lru_cache(maxsize=4096)(ip_network)


def _check_lifetime(lifetime: timedelta) -> None:
    if not timedelta() < lifetime <= LIFETIME:
        raise KeyRefusedError(f"a key lives for at most {LIFETIME.days} days (R96), and for longer than nothing")


def _partner(partner: str) -> str:
    if not _PARTNER.fullmatch(partner):
        raise KeyRefusedError("a partner is 1 to 63 lower-case letters, digits, - and _")
    return partner


def _tier(tier: str) -> str:
    if tier not in _TIERS:
        raise KeyRefusedError(f"a partner's tier is one of {', '.join(_TIERS)}")
    return str(Tier(tier))


def _scopes(partner: str, scopes: Collection[str]) -> list[str]:
    if not scopes:
        raise KeyRefusedError(f"a key needs a scope, such as partner:{partner}:marketing:read")
    for scope in scopes:
        match = _SCOPE.fullmatch(scope)
        # A scope that names another partner would open nothing, or worse, one day something (attack A57).
        if match is None or match["partner"] != partner:
            raise KeyRefusedError(f"{scope} is not a scope of {partner}: partner:{partner}:GATEWAY:read, :write or :*")
    return sorted(set(scopes))


def _networks(networks: Sequence[str]) -> Networks:
    try:
        read = tuple(dict.fromkeys(ip_network(network) for network in networks))
    except ValueError as error:
        raise KeyRefusedError(f"not a network: {error}") from error
    for network in read:
        if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
            # Clients are known by their IPv4 address, so that nobody would ever be in such a network.
            raise KeyRefusedError(f"{network} is a network of IPv4: write it as one, such as 203.0.113.0/24")
    return read
