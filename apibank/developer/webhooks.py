"""The webhooks of whoever visits the portal."""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from apibank.developer.destinations import Destinations, UnreachableError
from apibank.developer.recorder import Recorder, away
from portal.developer.browser import Faults, Refusal, Visit
from portal.developer.keys import partner_of
from portal.developer.webhooks import MOST, OVERLAP_SECONDS, TEST_EVENT, NewWebhookForm, offered
from records.errors import LOST_DATABASE
from records.events import body_of
from records.webhooks import BY_HAND, Delivery, Webhook, Webhooks

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
        if strange := [event for event in events if event not in offered(visit.person)]:
            # As an event that does not exist: to whoever may not have it, it does not.
            return Faults({"event": f"There is no event {strange[0][:60]}"}, {"url": [form.url]})
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
        now = self._clock()
        body = body_of(TEST_EVENT, data, now)
        await self._webhooks.tell(webhook_id, TEST_EVENT, body, delivery_id=f"msg_{secrets.token_hex(12)}", now=now)

    async def renew(self, visit: Visit, webhook_id: str) -> Webhook:
        """A new secret; the old one signs beside it for a day."""
        webhook = await self.find(visit, webhook_id)
        async with self._recorder.changing(visit, "/portal/webhooks/secret", "", webhook.webhook_id):
            secret = await self._webhooks.renew(webhook.webhook_id, self._clock() + OVERLAP_SECONDS)
        return replace(webhook, secret=secret)

    async def switch(self, visit: Visit, webhook_id: str, *, on: bool) -> None:
        webhook = await self.find(visit, webhook_id)
        async with self._recorder.changing(visit, "/portal/webhooks/switch", "on" if on else "off", webhook.webhook_id):
            await self._webhooks.switch(webhook.webhook_id, "" if on else BY_HAND)

    async def again(self, visit: Visit, webhook_id: str, delivery_id: str) -> None:
        webhook = await self.find(visit, webhook_id)
        if not await self._webhooks.again(webhook.webhook_id, delivery_id, self._clock()):
            raise Refusal(404, "There is no such delivery", "It may be so old that it is gone.")
