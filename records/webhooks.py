"""Webhooks: who wants to be told of what, what is to be sent, and what became of it."""

import secrets
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import delete, select, update

from records.database import Database
from records.tables import DeliveryRow, WebhookRow

WAITING: Final = "waiting"
DELIVERED: Final = "delivered"
FAILED: Final = "failed"
# Of each webhook so many are kept, beside those that wait.
_MOST_KEPT: Final = 200


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to. `secret`: as the Standard Webhooks have it, whsec_ and base64."""

    webhook_id: str
    partner: str
    url: str
    events: tuple[str, ...]
    created_at: float
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. `answer`: what came back last, in a few words. Times are POSIX seconds."""

    delivery_id: str
    webhook: str
    event: str
    body: str
    created_at: float
    attempts: int
    status: str
    answer: str
    last_at: float | None


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
            secret="whsec_" + b64encode(secrets.token_bytes(32)).decode(),
            events=list(events),
            created_at=now,
            created_by=by,
        )
        async with self._database.writing() as session:
            session.add(row)
        return _webhook(row)

    async def of(self, partner: str) -> Sequence[Webhook]:
        """A partner's, in the order in which they were added."""
        query = select(WebhookRow).where(WebhookRow.partner == partner).order_by(WebhookRow.created_at, WebhookRow.id)
        async with self._database.reading() as session:
            return [_webhook(row) for row in await session.scalars(query)]

    async def remove(self, webhook_id: str) -> None:
        """It, and what was sent by it."""
        async with self._database.writing() as session:
            await session.execute(delete(DeliveryRow).where(DeliveryRow.webhook == webhook_id))
            await session.execute(delete(WebhookRow).where(WebhookRow.id == webhook_id))

    async def tell(self, webhook_id: str, event: str, body: str, *, delivery_id: str, now: float) -> None:
        """Something to send now; nothing where that delivery is known already. What is too many goes, oldest first."""
        row = {
            "id": delivery_id, "webhook": webhook_id, "event": event, "body": body, "created_at": now,
            "next_at": now, "attempts": 0, "status": WAITING, "answer": "", "last_at": None,
        }  # fmt: skip
        newest = (
            select(DeliveryRow.id)
            .where(DeliveryRow.webhook == webhook_id)
            .order_by(DeliveryRow.created_at.desc())
            .limit(_MOST_KEPT)
        )
        # What waits is still to be sent, however much of it there is.
        over = (DeliveryRow.webhook == webhook_id, DeliveryRow.status != WAITING)
        old = delete(DeliveryRow).where(*over, DeliveryRow.id.not_in(newest))
        async with self._database.writing() as session:
            insert = self._database.insert_into(DeliveryRow).values(row)
            await session.execute(insert.on_conflict_do_nothing(index_elements=["id"]))
            await session.execute(old.execution_options(synchronize_session=False))

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

    async def claim(self, now: float, until: float, count: int = 20) -> Sequence[tuple[Webhook, Delivery]]:
        """What is due, for whoever asks first: nobody else gets it before `until`."""
        due = select(DeliveryRow, WebhookRow).join(WebhookRow, WebhookRow.id == DeliveryRow.webhook)
        query = due.where(DeliveryRow.next_at <= now).order_by(DeliveryRow.next_at).limit(count)
        async with self._database.reading() as session:
            if not (await session.execute(query)).first():
                return []
        taken: list[tuple[Webhook, Delivery]] = []
        async with self._database.writing() as session:
            # Locked (PostgreSQL; SQLite's writers are alone anyway), so that of two couriers one sends.
            for row, webhook in (await session.execute(query.with_for_update(of=DeliveryRow, skip_locked=True))).all():
                row.next_at = until
                taken.append((_webhook(webhook), _delivery(row)))
        return taken

    async def settle(self, delivery_id: str, *, status: str, answer: str, now: float, next_at: float | None) -> None:
        """What came of a try."""
        change = update(DeliveryRow).where(DeliveryRow.id == delivery_id)
        told = change.values(
            status=status, answer=answer[:200], last_at=now, next_at=next_at, attempts=DeliveryRow.attempts + 1
        )
        async with self._database.writing() as session:
            await session.execute(told.execution_options(synchronize_session=False))


def _webhook(row: WebhookRow) -> Webhook:
    return Webhook(row.id, row.partner, row.url, tuple(row.events), row.created_at, row.secret)


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(
        row.id, row.webhook, row.event, row.body, row.created_at, row.attempts, row.status, row.answer, row.last_at
    )
