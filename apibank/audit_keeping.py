"""Old rows of a gateway's chain, removed once a day by the gateway's own process, where a setting says how long."""

import asyncio
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from apibank.audit_anchors import AnchorError, anchor_line, anchors_below, keep_checkpoint
from apibank.audit_desk import AuditDeskError, Pruning, prune
from records.audit_log import AuditLog, AuditQuery, ChainEnd
from records.database import Database
from records.errors import LOST_DATABASE

_LOG: Final = structlog.get_logger(__name__)
_EVERY_SECONDS: Final = 24 * 3600.0
_AGAIN_SECONDS: Final = 600.0


class AuditKeeping:
    """Does what `apibank audit prune` does: nothing to a chain that is not whole, and a checkpoint of what is gone."""

    def __init__(self, gateway: str, folder: Path, database: Database, days: int, clock: Callable[[], float]) -> None:
        """`folder`: of the audit, where the anchors are. `clock`: seconds since the epoch."""
        self._gateway, self._folder, self._database = gateway, folder, database
        self._days, self._clock = days, clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
                pause = _EVERY_SECONDS
            except (AuditDeskError, AnchorError, ValueError, TypeError, *LOST_DATABASE) as error:
                # A chain that is not whole is for people to look at; a database that is away comes back.
                said = str(error) if isinstance(error, (AuditDeskError, AnchorError)) else type(error).__name__
                _LOG.error("audit_not_pruned", gateway=self._gateway, error=said)
                pause = _AGAIN_SECONDS
            await asyncio.sleep(pause)

    async def once(self) -> int:
        """Remove what is too old; how many rows that were."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        before = now - timedelta(days=self._days)
        # Otherwise each day would leave two rows about nothing.
        if not await AuditLog(self._database).find(AuditQuery(self._gateway, until=before, limit=1)):
            return 0
        anchors = await asyncio.to_thread(anchors_below, self._folder)
        pruning = Pruning(self._gateway, before, f"keep-days@{socket.gethostname()}")
        done = await prune(self._database, pruning, anchors, now)
        end = ChainEnd(self._gateway, done.first_position - 1, done.first_prev_hash)
        line = anchor_line(end, now.timestamp(), is_checkpoint=True)
        # Told first: the line of the log is kept elsewhere, if the disk does not take it.
        _LOG.info(
            "audit_pruned", gateway=self._gateway, removed=done.removed, position=end.position,
            row_hash=end.row_hash, checkpoint=True,
        )  # fmt: skip
        await asyncio.to_thread(keep_checkpoint, self._folder, line, self._gateway)
        return done.removed
