"""What webhooks are to be told, written down with the change that it tells of: both are there, or neither."""

import json
import secrets
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.tables import DeliveryRow, WebhookRow

WAITING = "waiting"


def body_of(event: str, data: object, now: float) -> str:
    """As the Standard Webhooks write payloads: type, timestamp, data."""
    at = datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": at, "data": data}, separators=(",", ":"))


async def happened(
    database: Database, session: AsyncSession, partner: str, event: str, data: object, now: float, name: str = ""
) -> None:
    """Have every webhook of a partner told that wants to know, by whoever sends next.

    `name`: of what may be seen to happen more than once, and is told once.
    """
    mine = select(WebhookRow).where(WebhookRow.partner == partner, WebhookRow.disabled == "")
    for webhook in (await session.scalars(mine.order_by(WebhookRow.id))).all():
        if event not in webhook.events:
            continue
        tail = f"{webhook.id.removeprefix('wh_')}_{name}" if name else secrets.token_hex(12)
        await queue(database, session, webhook.id, event, body_of(event, data, now), f"msg_{tail}", now)


async def queue(
    database: Database, session: AsyncSession, webhook: str, event: str, body: str, delivery_id: str, now: float
) -> None:
    """Something to send now; nothing where that delivery is known already."""
    row = {
        "id": delivery_id, "webhook": webhook, "event": event, "body": body, "created_at": now, "next_at": now,
        "attempts": 0, "status": WAITING, "answer": "", "last_at": None, "took": None,
    }  # fmt: skip
    insert = database.insert_into(DeliveryRow).values(row)
    await session.execute(insert.on_conflict_do_nothing(index_elements=["id"]))
