"""What webhooks are told of that nobody does: keys that end, quotas that are spent, policies that did not become live.

Each is noticed by looking, by every process of the portal, and told once: an event has a name of its own, and what is
known by that name is not told again.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from portal.limits_api import Record
from records.api_keys import ApiKey, ApiKeys
from records.policy_history import PolicyHistory, Result
from records.webhooks import Webhooks

_LOG: Final = structlog.get_logger(__name__)
REMIND_DAYS: Final = (14, 7, 1)
# A portal that was away for so long tells late what it has missed, and what is older it does not tell.
_MISSED: Final = timedelta(days=3)
_REVISIONS: Final = 50
_NOT_LIVE: Final = frozenset({Result.REFUSED, Result.ROLLED_BACK, Result.HALTED})
_QUOTAS: Final = frozenset({"day", "month"})
# The limits of a partner, each with its figure and what is left. Raises LookupError where nobody knows now.
Quotas = Callable[[str], Awaitable[Sequence[Record]]]


class Happenings:
    """Looks, and has told what it finds."""

    def __init__(self, webhooks: Webhooks, keys: ApiKeys, history: PolicyHistory, quotas: Quotas) -> None:
        self._webhooks = webhooks
        self._keys = keys
        self._history = history
        self._quotas = quotas

    async def look(self, now: float) -> None:
        """Raises what the database raises."""
        moment = datetime.fromtimestamp(now, UTC)
        await self._keys_that_end(moment)
        await self._keys_that_ended(moment)
        await self._quotas_that_are_spent(moment)
        await self._policies_that_are_not_live(moment)

    async def _keys_that_end(self, now: datetime) -> None:
        for key in await self._keys.expiring(now, timedelta(days=REMIND_DAYS[0])):
            left = (key.expires_at - now).total_seconds() / 86_400
            due = min(days for days in REMIND_DAYS if left <= days)
            await self._of_key("key.expiring", key, now, f"{due}", {"days_left": due})

    async def _keys_that_ended(self, now: datetime) -> None:
        for key in await self._keys.ended(now - _MISSED, now):
            await self._of_key("key.expired", key, now, "ended", {})

    async def _of_key(self, event: str, key: ApiKey, now: datetime, name: str, more: Mapping[str, object]) -> None:
        data = {"key_id": key.key_id, "name": key.name, "expires_at": key.expires_at.isoformat(), **more}
        named = f"{key.key_id.removeprefix('k_')}_{name}"
        await self._webhooks.happened(key.partner, event, data, now.timestamp(), named)

    async def _quotas_that_are_spent(self, now: datetime) -> None:
        for partner in sorted(await self._webhooks.wanting("quota.reached")):
            try:
                limits = await self._quotas(partner)
            except LookupError as error:
                # Whoever counts does not answer: the next look is soon enough.
                _LOG.info("quotas_not_told", error=str(error))
                continue
            for one in limits:
                if one["unit"] in _QUOTAS and one["remaining"] == 0 and one["figure"] and one["counted_as"]:
                    window = now.strftime("%Y%m%d" if one["unit"] == "day" else "%Y%m")
                    data = {name: one[name] for name in ("gateway", "limit", "unit", "figure", "reset_seconds")}
                    which = hashlib.sha256(f"{one['gateway']}/{one['limit']}".encode()).hexdigest()[:12]
                    named = f"{which}_{window}"
                    await self._webhooks.happened(partner, "quota.reached", data, now.timestamp(), named)

    async def _policies_that_are_not_live(self, now: datetime) -> None:
        partners = sorted(await self._webhooks.wanting("policy.rejected"))
        if not partners:
            return
        for one in await self._history.listing(limit=_REVISIONS):
            if one.entry.result not in _NOT_LIVE or now - one.entry.at > _MISSED:
                continue
            data = {
                "revision": one.revision,
                "gateway": one.entry.gateway,
                "version": one.entry.version,
                "result": one.entry.result.value,
                "detail": one.entry.detail[:1_000],
            }
            for partner in partners:
                await self._webhooks.happened(partner, "policy.rejected", data, now.timestamp(), f"r{one.revision}")
