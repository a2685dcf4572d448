"""Revocations of tokens, each carried out until it is in force on every running gateway."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from apibank.key_desk import CREATED_BY, IN_FORCE_SECONDS
from policy.model import Gateway
from portal.problems import Refused
from portal.revocations_api import NewRevocation
from records.errors import NotAppliedError, RevocationRefusedError, UnknownRevocationError
from records.fact_versions import REVOCATIONS, FactVersions
from records.revocations import NewRevocation as Wanted
from records.revocations import Revocation, TokenRevocations

# For clocks that differ between whoever revokes and whoever verifies.
_MARGIN: Final = timedelta(seconds=60)

Record = dict[str, object]


class RevocationDesk:
    """The control API's port `Revocations`, over the records."""

    def __init__(
        self,
        revocations: TokenRevocations,
        versions: FactVersions,
        gateways: Callable[[], Iterable[Gateway]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`gateways`: the policies in force, which say whose tokens live for how long."""
        self._revocations = revocations
        self._versions = versions
        self._gateways = gateways
        self._clock = clock

    async def revoke(self, new: NewRevocation) -> Record:
        """Refuse a token, or a subject's tokens; the entry's record. Raises Refused."""
        now = self._clock()
        iss, lifetime = self._issuer(new.issuer)
        issued_until = None if new.subject is None else new.issued_until or now
        # Whatever is covered was issued by then: after its longest life it is refused for its age.
        until = new.until or _later(issued_until or now, lifetime)
        wanted = Wanted(iss, new.jti, new.subject, issued_until, until, new.reason, CREATED_BY)
        try:
            entry, version = await self._revocations.revoke(wanted, now=now)
        except RevocationRefusedError as error:
            raise Refused(422, "revocation_not_possible", str(error)) from error
        return {**_record(entry), **await self._in_force(version, lifetime)}

    async def list(self) -> Sequence[Record]:
        """Every entry that is in force."""
        entries, _ = await self._revocations.in_force(self._clock())
        return [_record(entry) for entry in entries]

    async def restore(self, revocation_id: str) -> Record:
        """Take an entry away: its tokens are accepted again for as long as they live. Raises Refused."""
        try:
            entry, version = await self._revocations.restore(revocation_id)
        except UnknownRevocationError as error:
            raise Refused(404, "revocation_not_found", str(error)) from error
        return {**_record(entry), **await self._in_force(version, _MARGIN)}

    async def _in_force(self, version: int, lifetime: timedelta) -> Record:
        try:
            running = await self._versions.wait_applied(REVOCATIONS, version, IN_FORCE_SECONDS)
        except NotAppliedError as error:
            raise Refused(504, "change_not_in_force", str(error)) from error
        silent = await self._versions.silent(REVOCATIONS, lifetime.total_seconds())
        return {"in_force_on": [one.instance for one in running], "silent": [one.instance for one in silent]}

    def _issuer(self, named: str) -> tuple[str, timedelta]:
        """The `iss` that is meant by it or by policy's name of it, and how long its tokens may be accepted.

        An entry for an issuer that no policy knows would refuse nothing while it seems to.
        """
        issuers = [(name, each) for gateway in self._gateways() for name, each in gateway.issuers.items()]
        meant = {each.issuer for name, each in issuers if named in {name, each.issuer}}
        if len(meant) != 1:
            what = "more than one issuer" if meant else "no issuer"
            known = sorted({f"{name} ({each.issuer})" for name, each in issuers})
            raise Refused(422, "issuer_unknown", f"{what} is called {named}; there are: {', '.join(known) or 'none'}")
        (iss,) = meant
        longest = max(each.max_lifetime_seconds + 2 * each.leeway_seconds for _, each in issuers if each.issuer == iss)
        return iss, timedelta(seconds=longest) + _MARGIN


def _later(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        # The last day that there is, for whoever means always.
        return datetime.max.replace(tzinfo=UTC)


def _record(entry: Revocation) -> Record:
    return {
        "id": entry.revocation_id,
        "issuer": entry.issuer,
        "jti": entry.jti,
        "subject": entry.subject,
        "issued_until": None if entry.issued_until is None else entry.issued_until.isoformat(),
        "until": entry.until.isoformat(),
        "reason": entry.reason,
        "revoked_by": entry.by,
        "revoked_at": entry.at.isoformat(),
    }
