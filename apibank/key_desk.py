"""Changes of partner keys, each carried out until it is in force on every running gateway."""

from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from portal.control_api import BadKeyError, KeyNotFoundError, NewKey, NotInForceError
from records.api_keys import ApiKey, ApiKeys, IssuedKey
from records.errors import KeyRefusedError, NotAppliedError, UnknownKeyError
from records.fact_versions import API_KEYS, FactVersions

T = TypeVar("T")

# Gateways look twice a second. One that was killed counts as gone after GONE_SECONDS, which is less than this;
# one that is late is reported by name.
IN_FORCE_SECONDS = 20.0
CREATED_BY = "control-api"


class KeyDesk:
    """The control API's port `Keys`, over the records."""

    def __init__(self, keys: ApiKeys, versions: FactVersions) -> None:
        self._keys = keys
        self._versions = versions

    async def create(self, new: NewKey) -> dict[str, object]:
        """Make a key; its record holds the key itself."""
        issued = await _translated(
            self._keys.create(
                new.partner,
                new.scopes,
                now=datetime.now(UTC),
                tier=new.tier,
                networks=new.networks,
                lifetime=timedelta(days=new.expires_in_days),
                created_by=CREATED_BY,
            )
        )
        return await self._issued(issued)

    async def list(self) -> Sequence[dict[str, object]]:
        """Every key's record, without the keys."""
        return [_record(key) for key in await self._keys.list()]

    async def expiring(self, days: int) -> Sequence[dict[str, object]]:
        """Live keys that end within so many days and have no successor, those that end first first."""
        return [_record(key) for key in await self._keys.expiring(datetime.now(UTC), timedelta(days=days))]

    async def rotate(self, key_id: str, overlap_hours: int) -> dict[str, object]:
        """Make a key with another's rights; the old one ends after the overlap."""
        now = datetime.now(UTC)
        until = now + timedelta(hours=overlap_hours)
        return await self._issued(
            await _translated(self._keys.rotate(key_id, now=now, old_until=until, created_by=CREATED_BY))
        )

    async def revoke(self, key_id: str) -> dict[str, object]:
        """End a key now."""
        key, version = await _translated(self._keys.revoke(key_id, now=datetime.now(UTC)))
        await self._in_force(version)
        return _record(key)

    async def _issued(self, issued: IssuedKey) -> dict[str, object]:
        await self._in_force(issued.version)
        return {"key": issued.text, **_record(issued.key)}

    async def _in_force(self, version: int) -> None:
        try:
            await self._versions.wait_applied(API_KEYS, version, IN_FORCE_SECONDS)
        except NotAppliedError as error:
            raise NotInForceError(str(error)) from error


async def _translated(change: Awaitable[T]) -> T:
    try:
        return await change
    except UnknownKeyError as error:
        raise KeyNotFoundError(str(error)) from error
    except KeyRefusedError as error:
        raise BadKeyError(str(error)) from error


def _record(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.key_id,
        "partner": key.partner,
        "tier": key.tier.value,
        "scopes": sorted(key.scopes),
        "networks": None if key.networks is None else [str(network) for network in key.networks],
        "status": key.status(datetime.now(UTC)),
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat(),
        "last_used_at": None if key.last_used_at is None else key.last_used_at.isoformat(),
        "replaced_by": key.replaced_by,
    }
