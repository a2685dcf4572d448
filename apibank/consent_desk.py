"""Changes of parents' consents, each carried out until it is in force on every gateway that asks for ages."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from apibank.key_desk import CREATED_BY, IN_FORCE_SECONDS
from portal.consents_api import NewConsent
from portal.problems import Refused
from records.consents import ConsentRecord, ConsentRecords
from records.consents import NewConsent as Wanted
from records.errors import ConsentRefusedError, NotAppliedError, UnknownConsentError
from records.fact_versions import CONSENTS, FactVersions

Record = dict[str, object]


class ConsentDesk:
    """The control API's port `Consents`, over the records."""

    def __init__(
        self,
        records: ConsentRecords,
        versions: FactVersions,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._versions = versions
        self._clock = clock

    async def grant(self, new: NewConsent) -> Record:
        """Record a consent. Raises Refused."""
        lifetime = timedelta(days=new.expires_in_days)
        wanted = Wanted(new.child, new.parent, new.method, new.purposes, lifetime, CREATED_BY)
        try:
            record, version = await self._records.grant(wanted, now=self._clock())
        except ConsentRefusedError as error:
            raise Refused(422, "consent_not_possible", str(error)) from error
        return await self._in_force(record, version)

    async def list(self, child: str | None, parent: str | None) -> Sequence[Record]:
        """Every consent that was ever recorded, or those of a child or a parent."""
        return [self._shown(record) for record in await self._records.list(child, parent)]

    async def revoke(self, consent_id: str) -> Record:
        """End a consent now. Raises Refused."""
        try:
            record, version = await self._records.revoke(consent_id, now=self._clock())
        except UnknownConsentError as error:
            raise Refused(404, "consent_not_found", str(error)) from error
        return await self._in_force(record, version)

    async def _in_force(self, record: ConsentRecord, version: int) -> Record:
        try:
            await self._versions.wait_applied(CONSENTS, version, IN_FORCE_SECONDS)
        except NotAppliedError as error:
            raise Refused(504, "change_not_in_force", str(error)) from error
        return self._shown(record)

    def _shown(self, record: ConsentRecord) -> Record:
        return {
            "id": record.consent_id,
            "child": record.child,
            "parent": record.parent,
            "method": record.method.value,
            "purposes": sorted(record.purposes),
            "status": record.status(self._clock()),
            "granted_at": record.granted_at.isoformat(),
            "expires_at": record.expires_at.isoformat(),
            "revoked_at": None if record.revoked_at is None else record.revoked_at.isoformat(),
        }
