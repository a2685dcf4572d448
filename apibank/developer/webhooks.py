"""The webhooks of whoever visits the portal, and what happens to keys told to those who want to know."""

import json
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

from apibank.developer.destinations import Destinations, UnreachableError
from apibank.developer.recorder import Recorder, away
from portal.developer.browser import Faults, Refusal, Visit
from portal.developer.keys import partner_of
from portal.developer.webhooks import MOST, TEST_EVENT, NewWebhookForm
from records.errors import LOST_DATABASE
from records.webhooks import Delivery, Webhook, Webhooks

_PAUSE_SECONDS: Final = 2.0


class WebhookShelf:
    """The portal's port `OwnWebhooks`."""

    def __init__(
        self,
        webhooks: Webhooks,
        destinations: Destinations,
        recorder: Recorder,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._webhooks = webhooks
        self._destinations = destinations
        self._recorder = recorder
        self._clock = clock

    async def list(self, visit: Visit) -> Sequence[Webhook]:
        try:
            return await self._webhooks.of(partner_of(visit))
        except LOST_DATABASE:
            raise away() from None

    async def find(self, visit: Visit, webhook_id: str) -> Webhook:
        """One of the visitor's; somebody else's is as one that never was."""
        found = next((one for one in await self.list(visit) if one.webhook_id == webhook_id), None)
        if found is None:
            raise Refusal(404, "There is no such webhook", "It may have been removed, or its address be mistyped.")
        return found

    async def add(self, visit: Visit, form: NewWebhookForm) -> Webhook | Faults:
        if len(await self.list(visit)) >= MOST:
            raise Refusal(409, "You have enough webhooks", f"There are at most {MOST}: remove one first.")
        try:
            await self._destinations.of(form.url)
        except UnreachableError as error:
            return Faults({"url": str(error)}, {"url": [form.url], "event": form.event})
        by, events = self._recorder.who(visit), list(dict.fromkeys(form.event))
        # Of the address the host alone: the rest may hold what is secret to its owner.
        async with self._recorder.changing(visit, "/portal/webhooks/add", urlsplit(form.url).hostname or ""):
            return await self._webhooks.add(partner_of(visit), form.url, events, now=self._clock(), by=by)

    async def remove(self, visit: Visit, webhook_id: str) -> None:
        webhook = await self.find(visit, webhook_id)
        async with self._recorder.changing(visit, "/portal/webhooks/remove", "", webhook.webhook_id):
            await self._webhooks.remove(webhook.webhook_id)

    async def deliveries(self, visit: Visit, webhook_id: str) -> Sequence[Delivery]:
        return await self._webhooks.deliveries((await self.find(visit, webhook_id)).webhook_id)

    async def test(self, visit: Visit, webhook_id: str) -> None:
        webhook = await self.find(visit, webhook_id)
        latest = await self._webhooks.deliveries(webhook_id, 1)
        # Nobody's server is knocked at by a finger that stays on the button.
        if latest and self._clock() - latest[0].created_at < _PAUSE_SECONDS:
            raise Refusal(429, "That was just now", "Wait two seconds before the next test.")
        data = {"url": webhook.url, "host": urlsplit(webhook.url).hostname}
        await tell(self._webhooks, webhook, TEST_EVENT, data, self._clock())

    async def again(self, visit: Visit, webhook_id: str, delivery_id: str) -> None:
        webhook = await self.find(visit, webhook_id)
        if not await self._webhooks.again(webhook.webhook_id, delivery_id, self._clock()):
            raise Refusal(404, "There is no such delivery", "It may be so old that it is gone.")


async def tell(
    webhooks: Webhooks, webhook: Webhook, event: str, data: object, now: float, delivery_id: str | None = None
) -> None:
    """Have one event sent. The same `delivery_id` again is the same event, and is sent once."""
    at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    # As the Standard Webhooks write payloads: type, timestamp, data.
    body = json.dumps({"type": event, "timestamp": at, "data": data}, separators=(",", ":"))
    await webhooks.tell(
        webhook.webhook_id, event, body, delivery_id=delivery_id or f"msg_{secrets.token_hex(12)}", now=now
    )


async def tell_all(webhooks: Webhooks, partner: str, event: str, data: object, now: float, name: str = "") -> None:
    """Tell every webhook of a partner that wants to know. `name`: of the event, where it may be told of again."""
    for webhook in await webhooks.of(partner):
        if event in webhook.events:
            delivery_id = f"msg_{webhook.webhook_id.removeprefix('wh_')}_{name}" if name else None
            await tell(webhooks, webhook, event, data, now, delivery_id)
