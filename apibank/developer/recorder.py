"""What visitors of the portal change, written into the audit before it is done, and what came of it afterwards."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from portal.audited import INITIATED
from portal.developer.browser import Refusal, Visit
from records.audit_log import AuditEntry, AuditLog
from records.errors import LOST_DATABASE, KeyRefusedError, UnknownKeyError

# The chain of the audit that the portal writes.
AUDIT_CHAIN: Final = "portal"


class Recorder:
    """Nothing is changed that could not be written down first: who, what and why."""

    def __init__(
        self,
        audit: AuditLog,
        pseudonym: Callable[[str], str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`pseudonym`: how the gateways' audit names a subject."""
        self._audit = audit
        self._pseudonym = pseudonym
        self._clock = clock

    def who(self, visit: Visit) -> str:
        """A visitor, as the audit names them."""
        return f"sub:{self._pseudonym(visit.person.subject)}"

    @asynccontextmanager
    async def changing(self, visit: Visit, endpoint: str, why: str, subject: str = "") -> AsyncIterator[None]:
        """Around a change; `subject`: the id of what is changed. Refusals of records become pages."""

        async def write(outcome: str, status: int | None = None) -> None:
            entry = AuditEntry(
                timestamp=self._clock(),
                gateway=AUDIT_CHAIN,
                endpoint=endpoint,
                method="POST",
                outcome=outcome,
                status=status,
                reason=why,
                principal=self.who(visit),
                ip=visit.address,
                request_id=visit.request_id,
                role=visit.person.role,
                credential_id=subject,
            )
            await self._audit.write([entry])

        try:
            await write(INITIATED)
            yield
            await write("done", 200)
        except (KeyRefusedError, UnknownKeyError) as error:
            await write("failed", 409)
            raise Refusal(409, "This is not possible", str(error)) from None
        except LOST_DATABASE:
            raise away() from None


def away() -> Refusal:
    """What is said while the database is away."""
    return Refusal(503, "This is away", "It cannot be read or changed now. Try again in a moment.")
