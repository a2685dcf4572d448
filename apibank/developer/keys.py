"""The keys of whoever visits the portal: changed in the records, in the audit, and in force before it is said."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from apibank.developer.recorder import Recorder, away
from portal.developer.browser import Refusal, Visit
from portal.developer.keys import MOST_LIVE, Issued, NewKeyForm, RevokeForm, RotateForm, partner_of
from portal.developer.offers import of_partner
from records.api_keys import ApiKey, ApiKeys, IssuedKey
from records.errors import LOST_DATABASE, NotAppliedError
from records.fact_versions import API_KEYS, FactVersions

# Gateways look twice a second. The edge gives a page 20 s.
_IN_FORCE_SECONDS: Final = 10.0
_TIERS: Final = {"free", "business", "enterprise"}


class KeyShelf:
    """The portal's port `OwnKeys`."""

    def __init__(
        self,
        keys: ApiKeys,
        versions: FactVersions,
        recorder: Recorder,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._versions = versions
        self._recorder = recorder
        self._clock = clock

    async def list(self, visit: Visit) -> Sequence[ApiKey]:
        """Every key of the visitor's, in the order in which they were made."""
        with_partner = partner_of(visit)
        try:
            return await self._keys.list(with_partner)
        except LOST_DATABASE:
            raise away() from None

    async def find(self, visit: Visit, key_id: str) -> ApiKey:
        """One of them. Whoever asks for somebody else's is told what is told of a key that never was."""
        found = next((one for one in await self.list(visit) if one.key_id == key_id), None)
        if found is None:
            raise Refusal(404, "There is no such key", "It may belong to somebody else, or its address be mistyped.")
        return found

    async def create(self, visit: Visit, form: NewKeyForm) -> Issued:
        partner, now = partner_of(visit), self._clock()
        if visit.person.tier not in _TIERS:
            raise Refusal(403, "You cannot have keys", "Keys are for customers.")
        if sum(one.status(now) == "live" for one in await self.list(visit)) >= MOST_LIVE:
            raise Refusal(409, "You have enough keys", f"At most {MOST_LIVE} are live at a time: revoke one first.")
        async with self._recorder.changing(visit, "/portal/keys/create", form.name):
            return await self._issued(
                await self._keys.create(
                    partner,
                    of_partner(partner, tuple(form.scope)),
                    now=now,
                    tier=visit.person.tier,
                    networks=form.networks.split(),
                    lifetime=timedelta(days=form.expires_in_days),
                    name=form.name,
                    created_by=self._recorder.who(visit),
                )
            )

    async def rotate(self, visit: Visit, key_id: str, form: RotateForm) -> Issued:
        now, old = self._clock(), await self.find(visit, key_id)
        until = now + timedelta(hours=form.overlap_hours)
        async with self._recorder.changing(visit, "/portal/keys/rotate", form.why, old.key_id):
            return await self._issued(
                await self._keys.rotate(old.key_id, now=now, old_until=until, created_by=self._recorder.who(visit))
            )

    async def revoke(self, visit: Visit, key_id: str, form: RevokeForm) -> tuple[str, ...]:
        key = await self.find(visit, key_id)
        async with self._recorder.changing(visit, "/portal/keys/revoke", form.why, key.key_id):
            _, version = await self._keys.revoke(key.key_id, now=self._clock())
            return await self._late(version)

    async def _issued(self, made: IssuedKey) -> Issued:
        return Issued(made.key, made.text, await self._late(made.version))

    async def _late(self, version: int) -> tuple[str, ...]:
        try:
            await self._versions.wait_applied(API_KEYS, version, _IN_FORCE_SECONDS)
        except NotAppliedError as error:
            return error.late
        return ()
