"""Endpoints of upstreams that were set while running, in the place of those in the gateway's file."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from records.database import Database
from records.tables import EndpointOverrideRow


@dataclass(frozen=True, slots=True)
class EndpointOverride:
    """Where an upstream's hosts are; `written` is what its file said when this was set: it ends when that changes."""

    gateway: str
    upstream: str
    endpoints: tuple[str, ...]
    written: tuple[str, ...]
    author: str
    at: datetime


class EndpointOverrides:
    """The table `endpoint_overrides`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, override: EndpointOverride) -> None:
        """Put it in the place of the upstream's former one."""
        values = {
            "endpoints": list(override.endpoints),
            "written": list(override.written),
            "author": override.author,
            "at": override.at,
        }
        insert = self._database.insert_into(EndpointOverrideRow).values(
            gateway=override.gateway, upstream=override.upstream, **values
        )
        async with self._database.writing() as session:
            await session.execute(insert.on_conflict_do_update(index_elements=["gateway", "upstream"], set_=values))

    async def all(self) -> Sequence[EndpointOverride]:
        query = select(EndpointOverrideRow).order_by(EndpointOverrideRow.gateway, EndpointOverrideRow.upstream)
        async with self._database.reading() as session:
            return [_read(row) for row in await session.scalars(query)]

    async def remove(self, gateway: str, upstream: str) -> None:
        """From now on the file decides again."""
        row = (EndpointOverrideRow.gateway == gateway) & (EndpointOverrideRow.upstream == upstream)
        async with self._database.writing() as session:
            await session.execute(delete(EndpointOverrideRow).where(row))


def _read(row: EndpointOverrideRow) -> EndpointOverride:
    return EndpointOverride(row.gateway, row.upstream, tuple(row.endpoints), tuple(row.written), row.author, row.at)
