"""Webhooks: who wants to be told of what, what is to be sent, and what became of it."""

import secrets
from base64 import b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import delete, func, or_, select, update

from records.database import Database
from records.events import WAITING, happened, queue
from records.tables import DeliveryRow, WebhookRow

__all__ = ["DELIVERED", "FAILED", "WAITING", "Delivery", "Webhook", "Webhooks"]

DELIVERED: Final = "delivered"
FAILED: Final = "failed"
# Why nothing is sent to a webhook.
BY_HAND: Final = "by hand"
GONE: Final = "gone"
FAILING: Final = "failing"
# Of each webhook so many are kept, beside those that wait.
_MOST_KEPT: Final = 200
_FAILING_SECONDS: Final = 5 * 86_400.0
# Longer than the longest quota.
_NAMED_SECONDS: Final = 32 * 86_400.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to. `secret`: as the Standard Webhooks have it, whsec_ and base64;

    `old_secret` signs beside it until `old_until`. `disabled`: why nothing is sent, "" where it is. POSIX seconds.
    """

    webhook_id: str
    partner: str
    url: str
    events: tuple[str, ...]
    created_at: float
    disabled: str
    failing_since: float | None
    old_until: float | None
    secret: str = field(repr=False)
    old_secret: str = field(repr=False)

    def secrets(self, now: float) -> tuple[str, ...]:
        """Those that sign at a moment, the newest first."""
        both = self.old_until is not None and now < self.old_until
        return (self.secret, self.old_secret) if both else (self.secret,)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. `answer`: what came back last, in a few words, after `took` milliseconds.

    `next_at`: until when it is whoever's has claimed it. Times are POSIX seconds.
    """

    delivery_id: str
    webhook: str
    event: str
    body: str
    created_at: float
    attempts: int
    status: str
    answer: str
    last_at: float | None
    took: float | None
    next_at: float | None


class Webhooks:
    """The tables `webhooks` and `webhook_deliveries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, partner: str, url: str, events: Sequence[str], *, now: float, by: str) -> Webhook:
        """A new one, with a secret of its own."""
        row = WebhookRow(
            id=f"wh_{secrets.token_hex(12)}",
            partner=partner,
            url=url,
            secret=_new_secret(),
            events=list(events),
            created_at=now,
            created_by=by,
            old_secret="",
            disabled="",
        )
        async with self._database.writing() as session:
            session.add(row)
        return _webhook(row)

    async def of(self, partner: str) -> Sequence[Webhook]:
        """A partner's, in the order in which they were added."""
        query = select(WebhookRow).where(WebhookRow.partner == partner).order_by(WebhookRow.created_at, WebhookRow.id)
        async with self._database.reading() as session:
            return [_webhook(row) for row in await session.scalars(query)]

    async def wanting(self, event: str) -> Collection[str]:
        """The partners of whose webhooks one wants to know of an event."""
        query = select(WebhookRow.partner, WebhookRow.events).where(WebhookRow.disabled == "")
        async with self._database.reading() as session:
            return {partner for partner, events in await session.execute(query) if event in events}

    async def renew(self, webhook_id: str, old_until: float) -> str:
        """A new secret, beside which the old one signs until then."""
        secret = _new_secret()
        change = update(WebhookRow).where(WebhookRow.id == webhook_id)
        renewed = change.values(old_secret=WebhookRow.secret, old_until=old_until, secret=secret)
        async with self._database.writing() as session:
            await session.execute(renewed.execution_options(synchronize_session=False))
        return secret

    async def switch(self, webhook_id: str, disabled: str) -> None:
        """Send nothing any more, for this reason; or again, where it is ""."""
        change = update(WebhookRow).where(WebhookRow.id == webhook_id).values(disabled=disabled, failing_since=None)
        async with self._database.writing() as session:
            await session.execute(change.execution_options(synchronize_session=False))

    async def remove(self, webhook_id: str) -> None:
        """It, and what was sent by it."""
        async with self._database.writing() as session:
            await session.execute(delete(DeliveryRow).where(DeliveryRow.webhook == webhook_id))
            await session.execute(delete(WebhookRow).where(WebhookRow.id == webhook_id))

    async def tell(self, webhook_id: str, event: str, body: str, *, delivery_id: str, now: float) -> None:
        """Something to send now; nothing where that delivery is known already."""
        async with self._database.writing() as session:
            await queue(self._database, session, webhook_id, event, body, delivery_id, now)

    async def happened(self, partner: str, event: str, data: object, now: float, name: str = "") -> None:
        """See `records.events.happened`."""
        async with self._database.writing() as session:
            await happened(self._database, session, partner, event, data, now, name)

    async def deliveries(self, webhook_id: str, count: int = 50) -> Sequence[Delivery]:
        """The newest first."""
        query = select(DeliveryRow).where(DeliveryRow.webhook == webhook_id)
        async with self._database.reading() as session:
            found = await session.scalars(query.order_by(DeliveryRow.created_at.desc(), DeliveryRow.id).limit(count))
            return [_delivery(row) for row in found]

    async def again(self, webhook_id: str, delivery_id: str, now: float) -> bool:
        """Send one once more, from the beginning of its tries; whether there is such a one."""
        one = (DeliveryRow.id == delivery_id, DeliveryRow.webhook == webhook_id)
        change = update(DeliveryRow).where(*one).values(next_at=now, attempts=0, status=WAITING)
        async with self._database.writing() as session:
            changed = await session.execute(change.execution_options(synchronize_session=False))
            return int(changed.rowcount) > 0  # type: ignore[attr-defined]

    async def claim(
        self, now: float, until: float, count: int = 20, *, each: int = 20, without: Collection[str] = ()
    ) -> Sequence[tuple[Webhook, Delivery]]:
        """What is due, for whoever asks first: nobody else gets it before `until`.

        At most `each` of one partner, and none of those in `without`: whose servers are slow hold up no others.
        """
        place = func.row_number().over(partition_by=WebhookRow.partner, order_by=DeliveryRow.next_at)
        due = (
            select(DeliveryRow.id, DeliveryRow.next_at, place.label("place"))
            .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook)
            .where(DeliveryRow.next_at <= now, WebhookRow.disabled == "", WebhookRow.partner.not_in(without))
            .subquery()
        )
        async with self._database.reading() as session:
            # Everybody's first before anybody's second.
            first = select(due.c.id).where(due.c.place <= each).order_by(due.c.place, due.c.next_at).limit(count)
            ids = (await session.scalars(first)).all()
        if not ids:
            return []
        query = (
            select(DeliveryRow, WebhookRow)
            .join(WebhookRow, WebhookRow.id == DeliveryRow.webhook)
            .where(DeliveryRow.id.in_(ids), DeliveryRow.next_at <= now)
        )
        taken: list[tuple[Webhook, Delivery]] = []
        async with self._database.writing() as session:
            # Locked (PostgreSQL; SQLite's writers are alone anyway), so that of two couriers one sends.
            for row, webhook in (await session.execute(query.with_for_update(of=DeliveryRow, skip_locked=True))).all():
                row.next_at = until
                taken.append((_webhook(webhook), _delivery(row)))
        return taken

    async def settle(
        self, one: Delivery, *, status: str, answer: str, took: float, now: float, next_at: float | None, gone: bool
    ) -> bool:
        """What came of a try; whether it was still ours to say, and not claimed by another or begun anew meanwhile.

        `gone`: the server says for good that it wants no more. A webhook of which nothing was taken for five days is
        switched off, too, with the last of a delivery's tries.
        """
        mine = (DeliveryRow.id == one.delivery_id, DeliveryRow.next_at == one.next_at)
        told = update(DeliveryRow).where(*mine)
        told = told.values(status=status, answer=answer[:200], took=took, last_at=now, next_at=next_at)
        told = told.values(attempts=DeliveryRow.attempts + 1).execution_options(synchronize_session=False)
        newest = (
            select(DeliveryRow.id)
            .where(DeliveryRow.webhook == one.webhook)
            .order_by(DeliveryRow.created_at.desc())
            .limit(_MOST_KEPT)
        )
        # What waits is still to be sent, however much of it there is.
        over = (DeliveryRow.webhook == one.webhook, DeliveryRow.status != WAITING, DeliveryRow.id.not_in(newest))
        # What has a name of its own is known by this row, as long as it may be seen to happen again.
        nameless = ~DeliveryRow.id.startswith(f"msg_{one.webhook.removeprefix('wh_')}_", autoescape=True)
        old = delete(DeliveryRow).where(*over, or_(nameless, DeliveryRow.created_at < now - _NAMED_SECONDS))
        async with self._database.writing() as session:
            if int((await session.execute(told)).rowcount) == 0:  # type: ignore[attr-defined]
                return False
            webhook = await session.get(WebhookRow, one.webhook)
            if webhook is not None:
                if status == DELIVERED:
                    webhook.failing_since = None
                else:
                    webhook.failing_since = webhook.failing_since or now
                    has_failed = status == FAILED and now - webhook.failing_since >= _FAILING_SECONDS
                    if gone or has_failed:
                        webhook.disabled = GONE if gone else FAILING
            await session.execute(old.execution_options(synchronize_session=False))
        return True


def _new_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


def _webhook(row: WebhookRow) -> Webhook:
    return Webhook(
        row.id, row.partner, row.url, tuple(row.events), row.created_at, row.disabled, row.failing_since,
        row.old_until, row.secret, row.old_secret,
    )  # fmt: skip


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(
        row.id, row.webhook, row.event, row.body, row.created_at, row.attempts, row.status, row.answer, row.last_at,
        row.took, row.next_at,
    )  # fmt: skip
