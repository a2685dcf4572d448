"""A gateway's durable audit: from the decision to the disk, and from there to the database."""

import asyncio
import contextlib
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from apibank.audit_anchors import ANCHOR_NAME, AnchorError, AnchorKeeper
from apibank.audit_keeping import AuditKeeping
from apibank.audit_metrics import AuditCollector
from authz.audit import AuditEvent
from authz.principal import Kind
from policy.descriptors import CALLER_AGENT, CALLER_PARTNER, CALLER_SUBJECT
from records.audit_delivery import AuditDelivery
from records.audit_entry import AuditEntry
from records.audit_figures import AuditFigures
from records.audit_journal import AuditJournal
from records.audit_log import AuditLog
from records.audit_spool import Spool
from records.database import Database

_LOG: Final = structlog.get_logger(__name__)
_KEY_BYTES: Final = 32
_ANCHOR_SECONDS: Final = 60.0
_CLAIM_SECONDS: Final = 5.0
# A process that is told to stop gives the database so long; what is left waits on disk for the next one.
_LAST_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """Where a gateway's audit waits: `folder` is shared by the gateways of a machine, `spool_bytes` is each one's.

    `key_file` holds the key of the subjects' pseudonyms. `keep_days`: how long rows are kept, None where for good.
    """

    gateway: str
    folder: Path
    spool_bytes: int
    key_file: Path
    keep_days: int | None = None


def subject_key(path: Path) -> bytes:
    """The key of the subjects' pseudonyms, made where there is none yet. OSError or ValueError where it is unusable."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            with contextlib.suppress(FileExistsError):
                # Unlike a rename, it replaces nobody else's.
                os.link(partial, path)
        finally:
            Path(partial).unlink()
    key = path.read_bytes().strip()
    if not _KEY_BYTES <= len(key) <= 2 * _KEY_BYTES:
        raise ValueError(f"{path}: the key of the audit's pseudonyms has 32 to 64 bytes, found {len(key)}")
    return key


def principal_of(kind: str, subject: str, partner: str, agent: str) -> str:
    """Who it was, in one word: `sub:<pseudonym>`, `partner:acme`, `agent:content`, `break-glass:ann`, or nothing."""
    if kind == Kind.TOKEN:
        return CALLER_SUBJECT + subject
    if kind == Kind.KEY:
        return CALLER_PARTNER + partner
    if kind == Kind.SIGNATURE:
        return CALLER_AGENT + agent
    return subject if kind == Kind.BREAK_GLASS else ""


class AuditTrail:
    """Keeps the events of one process (the port `authz.audit.AuditRecorder`)."""

    def __init__(self, gateway: str, journal: AuditJournal) -> None:
        """`gateway`: whose chain it is, whatever a check said that it was meant for."""
        self._gateway = gateway
        self._journal = journal
        # Names events: no other process, and none before, has this one's beginning.
        self._process = secrets.token_hex(12)
        self._numbers = count(1)

    def record(self, event: AuditEvent) -> Awaitable[bool]:
        """Take the event; the answer says whether it is on disk."""
        return self._journal.record(
            AuditEntry(
                timestamp=datetime.fromtimestamp(event.at, UTC),
                gateway=self._gateway,
                endpoint=event.path,
                method=event.method,
                outcome=event.outcome,
                status=event.status,
                # Of what was allowed there is one where somebody broke the glass: why they did.
                reason=event.reason or event.cause,
                principal=principal_of(event.kind, event.subject, event.partner, event.agent),
                ip=event.address,
                user_agent=event.user_agent,
                request_id=event.request_id,
                policy_version=event.policy,
                role=event.role,
                credential_id=event.credential_id,
                route=event.route,
                event_id=f"{self._process}-{next(self._numbers)}",
            )
        )


@asynccontextmanager
async def audit_trail(
    place: AuditPlace, database: Database, registry: CollectorRegistry, wait_seconds: float
) -> AsyncIterator[AuditTrail]:
    """A trail that is written and delivered until the body ends. `wait_seconds`: how long an event may take to disk."""
    figures = AuditFigures()
    courier = _Courier(place, AuditLog(database), figures)
    days = place.keep_days
    keeping = None if days is None else AuditKeeping(place.gateway, place.folder, database, days, time.time)
    journal = AuditJournal(figures, wait_seconds=wait_seconds, on_kept=courier.wake)
    registry.register(AuditCollector(place.gateway, figures, lambda: journal.spool, time.time))
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(journal.run())
        # The first attempt is made before the first check comes.
        carrying = tasks.create_task(courier.run(journal))
        removing = None if keeping is None else tasks.create_task(keeping.run())
        await courier.tried.wait()
        try:
            yield AuditTrail(place.gateway, journal)
        finally:
            journal.close()
            if removing is not None:
                removing.cancel()
            await asyncio.wait({writing})
            carrying.cancel()
            await asyncio.wait({carrying})
            await courier.finish()


class _Courier:
    """Opens the spool, as soon as that can be done, and carries what is in it."""

    def __init__(self, place: AuditPlace, log: AuditLog, figures: AuditFigures) -> None:
        self._place = place
        self._log = log
        self._figures = figures
        self._delivery: AuditDelivery | None = None
        self._anchor: AnchorKeeper | None = None
        self._spool: Spool | None = None
        self.tried = asyncio.Event()

    def wake(self) -> None:
        if self._delivery is not None:
            self._delivery.wake()

    async def run(self, journal: AuditJournal) -> None:
        while not await self._open(journal):
            self.tried.set()
            await asyncio.sleep(_CLAIM_SECONDS)
        self.tried.set()
        delivery, anchor = self._delivery, self._anchor
        if delivery is not None and anchor is not None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(delivery.run())
                tasks.create_task(_keep_anchor(anchor))

    async def _open(self, journal: AuditJournal) -> bool:
        root = self._place.folder / self._place.gateway
        try:
            # A folder that is there has the mode that its owner gave it.
            self._place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            spool = await asyncio.to_thread(Spool.claim, root, self._place.spool_bytes)
        except OSError as error:
            _LOG.error("audit_has_no_spool", folder=str(root), error=str(error))
            return False
        try:
            self._anchor = AnchorKeeper(spool.folder / ANCHOR_NAME, self._log, self._figures, time.time)
        except (AnchorError, OSError) as error:
            spool.close()
            _LOG.error("audit_has_no_spool", folder=str(root), error=str(error))
            return False
        self._delivery = AuditDelivery(spool, self._log, self._figures, on_stored=self._anchor.note)
        self._spool = journal.spool = spool
        return True

    async def finish(self) -> None:
        """Deliver what is left, if the database is quick; it is safe on disk."""
        if self._delivery is not None and self._anchor is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._delivery.deliver_all()
                    await self._anchor.keep()
        if self._spool is not None:
            self._spool.close()


async def _keep_anchor(anchor: AnchorKeeper) -> None:
    while True:
        try:
            await anchor.keep()
        except Exception as error:  # noqa: BLE001 a database that is away is asked again
            _LOG.warning("audit_anchor_not_kept", error=type(error).__name__)
        await asyncio.sleep(_ANCHOR_SECONDS)
