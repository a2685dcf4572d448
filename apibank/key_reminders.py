"""Partner keys that end soon: a figure for alerts and a line in the log, in good time and without the key (R96)."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from records.api_keys import ApiKey, ApiKeys
from records.errors import LOST_DATABASE

_LOOK_SECONDS: Final = 60.0
# Said once each, when a key has so many days left.
REMIND_DAYS: Final = (1, 7, 14)
_DAY: Final = 86_400.0
_LOG: Final = structlog.get_logger(__name__)


class KeyReminders:
    """Looks once a minute at the keys that have no successor."""

    def __init__(self, keys: ApiKeys, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._clock = clock
        self._ends = Gauge(
            "apibank_api_key_expiry_seconds",
            "When a live partner key without a successor is over, in seconds since the epoch; the key by its id.",
            ("key_id", "partner"),
            registry=registry,
        )
        # The fewest days of which was told, by key id.
        self._told: dict[str, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped. A database that is away leaves the figures as they were."""
        while not stop.is_set():
            try:
                await self.look()
            except LOST_DATABASE as error:
                _LOG.warning("key_reminders_not_read", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)

    async def look(self) -> None:
        """Set the figures, and tell of each key that has come nearer to its end. Raises what the database raises."""
        now = self._clock()
        keys = await self._keys.expiring(datetime.fromtimestamp(now, UTC))
        self._ends.clear()
        for key in keys:
            self._ends.labels(key.key_id, key.partner).set(key.expires_at.timestamp())
            self._remind(key, now)
        known = {key.key_id for key in keys}
        self._told = {key_id: days for key_id, days in self._told.items() if key_id in known}

    def _remind(self, key: ApiKey, now: float) -> None:
        left = (key.expires_at.timestamp() - now) / _DAY
        due = next((days for days in REMIND_DAYS if left <= days), None)
        if due is None or self._told.get(key.key_id, REMIND_DAYS[-1] + 1) <= due:
            return
        self._told[key.key_id] = due
        used = None if key.last_used_at is None else key.last_used_at.isoformat()
        _LOG.warning(
            "api_key_expires_soon",
            key_id=key.key_id,
            partner=key.partner,
            expires_at=key.expires_at.isoformat(),
            days_left=int(left),
            last_used_at=used,
        )
