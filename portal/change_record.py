"""Who changed what by the control API, and why: rows of the audit, in a chain of their own.

Each request that may change something leaves two rows under one request id: `initiated`, ahead of anything else, and
what came of it. One without the second was cut off by the end of the process: whether it changed something is not
known, and can be looked up. Where the first cannot be written, nothing is done.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import structlog
from fastapi import Request, Response

from portal.audited import INITIATED, AuditWriter, write_first
from portal.policies_api import author_of, reason_of
from records.audit_entry import AuditEntry
from records.errors import LOST_DATABASE

CHAIN: Final = "control-plane"
_CHANGING: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
# They are asked with a body, and change nothing.
_ASKING: Final = frozenset({"/v1/policies/diff", "/v1/explain"})
_LOG: Final = structlog.get_logger(__name__)


def changed(request: Request, what: object) -> None:
    """Name what a request has changed or made, such as a key's id: the row of its outcome says it."""
    request.state.changed = str(what)


class ChangeRecord:
    """Writes the rows. `now`: the moment, with a zone."""

    def __init__(self, audit: AuditWriter, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._audit, self._now = audit, now

    async def begin(self, request: Request) -> AuditEntry | None:
        """None where nothing can change. Raises Refused where the row cannot be written, or says nothing legible."""
        if request.method not in _CHANGING or request.url.path in _ASKING:
            return None
        entry = AuditEntry(
            timestamp=self._now(),
            gateway=CHAIN,
            endpoint=request.url.path,
            method=request.method,
            outcome=INITIATED,
            reason=reason_of(request),
            principal=f"operator:{author_of(request)}",
            ip="" if request.client is None else request.client.host,
            user_agent=request.headers.get("user-agent", ""),
            request_id=uuid.uuid4().hex,
        )
        await write_first(self._audit, entry)
        return entry

    async def end(self, begun: AuditEntry, request: Request, answer: Response | None) -> None:
        """Say what came of it; without an answer, that it failed."""
        status = 500 if answer is None else answer.status_code
        entry = replace(
            begun,
            timestamp=self._now(),
            outcome="success" if status < 400 else "refused" if status < 500 else "failed",
            status=status,
            credential_id=getattr(request.state, "changed", ""),
            event_id=uuid.uuid4().hex,
        )
        try:
            await self._audit.write([entry])
        except LOST_DATABASE as error:
            # What was done is done: its caller must hear of it, and `initiated` is there.
            _LOG.error("change_not_recorded", request_id=begun.request_id, error=type(error).__name__)
