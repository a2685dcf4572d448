"""Sends what webhooks are to be told: signed by the Standard Webhooks, again and again until taken or given up."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import httpx2
import structlog
from standardwebhooks.webhooks import Webhook as Signer

from apibank.developer.destinations import Destinations, UnreachableError
from apibank.developer.happenings import Happenings
from records.errors import LOST_DATABASE
from records.webhooks import DELIVERED, FAILED, WAITING, Delivery, Webhook, Webhooks

_LOG: Final = structlog.get_logger(__name__)
# Seconds after each try until the next: the schedule that the Standard Webhooks propose, three days in all.
RETRIES: Final = (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
_LOOK_SECONDS: Final = 1.0
_AT_ONCE: Final = 200
# Of them for one partner, whose servers may all be slow.
_OF_ONE: Final = 10
_AT_A_TIME: Final = 5
_GONE: Final = 410
_JITTER: Final = 0.2
_CALL_SECONDS: Final = 10.0
# Longer than any try: whoever has taken one and is gone has it taken over.
_CLAIM_SECONDS: Final = 60.0
_HAPPENING_SECONDS: Final = 60.0


class Courier:
    """One for each process of the portal; they share the work."""

    def __init__(
        self,
        webhooks: Webhooks,
        happenings: Happenings,
        destinations: Destinations,
        clock: Callable[[], float] = time.time,
        http: httpx2.AsyncClient | None = None,
    ) -> None:
        self._webhooks = webhooks
        self._happenings = happenings
        self._destinations = destinations
        self._clock = clock
        # No proxy and no cookies of ours, and nobody leads us elsewhere.
        self._http = http or httpx2.AsyncClient(timeout=_CALL_SECONDS, follow_redirects=False, trust_env=False)
        # Tries that are under way, by partner.
        self._busy: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped, and until what was begun by then has come to its end."""
        looked = 0.0
        async with self._http, asyncio.TaskGroup() as tries:
            while not stop.is_set():
                try:
                    if self._clock() - looked >= _HAPPENING_SECONDS:
                        looked = self._clock()
                        await self._look(looked)
                    await self._begin(tries)
                except LOST_DATABASE as error:
                    _LOG.warning("webhooks_away", error=type(error).__name__)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)

    async def _look(self, now: float) -> None:
        try:
            await self._happenings.look(now)
        except LOST_DATABASE:
            raise
        except Exception as error:  # noqa: BLE001 what cannot be noticed holds up nothing that waits to be sent
            _LOG.error("webhook_failed", error=type(error).__name__)

    async def send(self) -> int:
        """Send what is due, and wait for what comes of it; how many that were."""
        async with asyncio.TaskGroup() as tries:
            return await self._begin(tries)

    async def _begin(self, tries: asyncio.TaskGroup) -> int:
        # Nobody waits here: a server that takes its time holds up no other, and a partner's servers no other partner's.
        now, free = self._clock(), _AT_ONCE - self._busy.total()
        full = [partner for partner, tries in self._busy.items() if tries > _OF_ONE - _AT_A_TIME]
        due: Sequence[tuple[Webhook, Delivery]] = ()
        if free > 0:
            due = await self._webhooks.claim(now, now + _CLAIM_SECONDS, free, each=_AT_A_TIME, without=full)
        for webhook, delivery in due:
            self._busy[webhook.partner] += 1
            tries.create_task(self._one(webhook, replace(delivery, next_at=now + _CLAIM_SECONDS)))
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
            self._busy[webhook.partner] -= 1
            self._busy += Counter()

    async def _try(self, webhook: Webhook, delivery: Delivery) -> None:
        started = time.perf_counter()
        try:
            answer, taken, gone = await self._post(webhook, delivery)
        except Exception as error:  # noqa: BLE001 a customer's URL may fail in ways of its own: that is a failed try
            answer, taken, gone = type(error).__name__, False, False
        took = (time.perf_counter() - started) * 1e3
        now, tries = self._clock(), delivery.attempts
        following = None
        if not (taken or gone) and tries < len(RETRIES):
            # A little sooner, each by another share: what failed together does not come again together.
            following = now + RETRIES[tries] * (1 - _JITTER * random.random())  # noqa: S311 nobody's secret
        status = DELIVERED if taken else FAILED if following is None else WAITING
        told = {"status": status, "answer": answer, "took": took, "now": now, "next_at": following, "gone": gone}
        if not await self._webhooks.settle(delivery, **told):  # type: ignore[arg-type]
            _LOG.info("webhook_claimed_by_another", delivery=delivery.delivery_id)

    async def _post(self, webhook: Webhook, delivery: Delivery) -> tuple[str, bool, bool]:
        """What came back in a few words, whether it was taken (any 2xx), and whether no more shall come (410)."""
        try:
            place = await self._destinations.of(webhook.url)
        except UnreachableError as error:
            return str(error), False, False
        at = datetime.fromtimestamp(int(self._clock()), UTC)
        headers = {
            "host": place.authority,
            "content-type": "application/json",
            "user-agent": "apibank-webhooks/1",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(at.timestamp())),
            # One for each secret; whoever receives it needs one that fits.
            "webhook-signature": " ".join(
                Signer(secret).sign(delivery.delivery_id, at, delivery.body)
                for secret in webhook.secrets(at.timestamp())
            ),
        }
        try:
            # What it says beyond its status is not read: it could be without end.
            call = self._http.stream(
                "POST", place.url, content=delivery.body, headers=headers, extensions={"sni_hostname": place.host}
            )
            async with asyncio.timeout(_CALL_SECONDS), call as answer:
                return str(answer.status_code), answer.is_success, answer.status_code == _GONE
        except TimeoutError:
            return f"no answer within {_CALL_SECONDS:.0f} s", False, False
