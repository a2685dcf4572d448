"""Partner keys on their way from the records to a gateway's decisions, and their uses on the way back."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from authz.audit import AuditEvent, AuditSink
from authz.facts import FactsBoard, PartnerKey, PartnerKeys
from authz.principal import Kind
from records.api_keys import ApiKey, ApiKeys
from records.errors import LOST_DATABASE
from records.fact_versions import FRESH_SECONDS
from records.key_usage import KeyUsage

_LOG = structlog.get_logger(__name__)
FLUSH_SECONDS = 5.0


class KeysOnBoard:
    """The live keys, put where a gateway's decisions read them (the port `records.fact_follower.Facts`)."""

    def __init__(self, keys: ApiKeys, board: FactsBoard, clock: Callable[[], float] = time.time) -> None:
        self._keys = keys
        self._board = board
        self._clock = clock
        self._latest: PartnerKeys | None = None

    async def reload(self) -> int:
        """Read every live key; the version that was read."""
        live = await self._keys.live(datetime.fromtimestamp(self._clock(), UTC))
        if live.unreadable:
            _LOG.error("api_keys_unreadable", key_ids=live.unreadable)
        by_digest = {digest: _as_fact(key) for digest, key in live.by_digest.items()}
        self._latest = PartnerKeys(by_digest, self._clock() + FRESH_SECONDS)
        return live.version

    def confirm(self) -> None:
        """The keys are current at this moment, and usable for as long as whoever changes them waits for us."""
        if self._latest is not None:
            self._latest = PartnerKeys(self._latest.by_digest, self._clock() + FRESH_SECONDS)
            self._board.put_partner_keys(self._latest)


def _as_fact(key: ApiKey) -> PartnerKey:
    return PartnerKey(
        partner=key.partner,
        scopes=key.scopes,
        tier=key.tier.value,
        expires_at=key.expires_at.timestamp(),
        key_id=key.key_id,
        networks=key.networks,
    )


class UsageNoting:
    """An audit sink that also remembers when a key was used; everything is passed on."""

    def __init__(self, sink: AuditSink, usage: KeyUsage) -> None:
        self._sink = sink
        self._usage = usage

    def offer(self, event: AuditEvent) -> bool:
        """Pass the event on; whether there was room for it."""
        if event.kind == Kind.KEY and event.credential_id:
            self._usage.note(event.credential_id, datetime.fromtimestamp(event.at, UTC))
        return self._sink.offer(event)


async def write_usage(usage: KeyUsage, stop: asyncio.Event) -> None:
    """Write uses every few seconds until stopped, and then what is left."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
        try:
            await usage.flush()
        except LOST_DATABASE as error:
            # Kept, and written with the next batch.
            _LOG.warning("key_usage_not_written", error=type(error).__name__)
