"""Sends what webhooks are to be told: signed by the Standard Webhooks, again and again until taken or given up."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx2
import structlog
from standardwebhooks.webhooks import Webhook as Signer

from apibank.developer.destinations import Destinations, UnreachableError
from apibank.developer.webhooks import tell_all
from records.api_keys import ApiKeys
from records.errors import LOST_DATABASE
from records.webhooks import DELIVERED, FAILED, WAITING, Delivery, Webhook, Webhooks

_LOG: Final = structlog.get_logger(__name__)
# Seconds after each try until the next: the schedule that the Standard Webhooks propose, three days in all.
RETRIES: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
_LOOK_SECONDS: Final = 1.0
_AT_ONCE: Final = 50
_CALL_SECONDS: Final = 10.0
# Longer than any try: whoever has taken one and is gone has it taken over.
_CLAIM_SECONDS: Final = 60.0
_EXPIRING_SECONDS: Final = 60.0
_REMIND_DAYS: Final = (14, 7, 1)


class Courier:
    """One for each process of the portal; they share the work."""

    def __init__(
        self,
        webhooks: Webhooks,
        keys: ApiKeys,
        destinations: Destinations,
        clock: Callable[[], float] = time.time,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._keys = keys
        self._destinations = destinations
        self._clock = clock
        # No proxy and no cookies of ours, and nobody leads us elsewhere.
        self._http = http or httpx2.AsyncClient(timeout=_CALL_SECONDS, follow_redirects=False, trust_env=False)
        self._busy = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped, and until what was begun by then has come to its end."""
        reminded = 0.0
        async with self._http, asyncio.TaskGroup() as tries:
            while not stop.is_set():
                try:
                    if self._clock() - reminded >= _EXPIRING_SECONDS:
                        reminded = self._clock()
                        await self.remind()
                    await self._begin(tries)
                except LOST_DATABASE as error:
                    _LOG.warning("webhooks_away", error=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)

    async def send(self) -> int:
        """Send what is due, and wait for what comes of it; how many that were."""
        async with asyncio.TaskGroup() as tries:
            return await self._begin(tries)

    async def _begin(self, tries: asyncio.TaskGroup) -> int:
        # Nobody waits here: a server that takes its time holds up no other.
        now, free = self._clock(), _AT_ONCE - self._busy
        due = await self._webhooks.claim(now, now + _CLAIM_SECONDS, free) if free > 0 else ()
        self._busy += len(due)
        for webhook, delivery in due:
            tries.create_task(self._one(webhook, delivery))
        return len(due)

    async def _one(self, webhook: Webhook, delivery: Delivery) -> None:
        try:
            await self._try(webhook, delivery)
        except LOST_DATABASE as error:
            # What came of it is not known: it is sent again when its claim is over.
            _LOG.warning("webhooks_away", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 one delivery that fails in an unforeseen way holds up no other
            _LOG.error("webhook_failed", error=type(error).__name__)
        finally:
            self._busy -= 1

    async def remind(self) -> None:
        """Tell of keys that end soon and have no successor, once for each of 14, 7 and 1 days."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        for key in await self._keys.expiring(now, timedelta(days=_REMIND_DAYS[0])):
            left = (key.expires_at - now).total_seconds() / 86_400
            due = min(days for days in _REMIND_DAYS if left <= days)
            data = {"key_id": key.key_id, "name": key.name, "expires_at": key.expires_at.isoformat(), "days_left": due}
            await tell_all(
                self._webhooks,
                key.partner,
                "key.expiring",
                data,
                self._clock(),
                f"{key.key_id.removeprefix('k_')}_{due}",
            )

    async def _try(self, webhook: Webhook, delivery: Delivery) -> None:
        try:
            answer, taken = await self._post(webhook, delivery)
        except Exception as error:  # noqa: BLE001 a customer's URL may fail in ways of its own: that is a failed try
            answer, taken = type(error).__name__, False
        now, tries = self._clock(), delivery.attempts
        following = None if taken or tries >= len(RETRIES) else now + RETRIES[tries]
        status = DELIVERED if taken else FAILED if following is None else WAITING
        await self._webhooks.settle(delivery.delivery_id, status=status, answer=answer, now=now, next_at=following)

    async def _post(self, webhook: Webhook, delivery: Delivery) -> tuple[str, bool]:
        """What came back in a few words, and whether it was taken: any 2xx."""
        try:
            place = await self._destinations.of(webhook.url)
        except UnreachableError as error:
            return str(error), False
        at = datetime.fromtimestamp(int(self._clock()), UTC)
        headers = {
            "host": place.authority,
            "content-type": "application/json",
            "user-agent": "apibank-webhooks/1",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": Signer(webhook.secret).sign(delivery.delivery_id, at, delivery.body),
        }
        try:
            # What it says beyond its status is not read: it could be without end.
            call = self._http.stream(
                "POST", place.url, content=delivery.body, headers=headers, extensions={"sni_hostname": place.host}
            )
            async with asyncio.timeout(_CALL_SECONDS), call as answer:
                return str(answer.status_code), answer.is_success
        except TimeoutError:
            return f"no answer within {_CALL_SECONDS:.0f} s", False
