"""The desk of consents: what is recorded comes into force before it answers, and what cannot be says why."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from apibank.consent_desk import ConsentDesk
from portal.consents_api import NewConsent
from portal.problems import Refused
from records.consents import ConsentMethod, ConsentRecord, ConsentRecords
from records.consents import NewConsent as Wanted
from records.errors import ConsentRefusedError, NotAppliedError, UnknownConsentError
from records.fact_versions import CONSENTS, FactVersions

NOW = datetime(2026, 11, 23, tzinfo=UTC)
NEW = NewConsent(child="child_1", parent="parent_1", method="signed_form", purposes=["education"], expires_in_days=10)


class _Records:
    """Stands for the table."""

    def __init__(self) -> None:
        self.record: ConsentRecord | None = None

    async def grant(self, new: Wanted, *, now: datetime) -> tuple[ConsentRecord, int]:
        if new.method not in set(ConsentMethod):
            raise ConsentRefusedError("a method is one of a few")
        method, purposes = ConsentMethod(new.method), frozenset(new.purposes)
        self.record = ConsentRecord(
            "c_1", new.child, new.parent, method, purposes, now, new.by, now + new.lifetime, revoked_at=None
        )
        return self.record, 5

    async def revoke(self, consent_id: str, *, now: datetime) -> tuple[ConsentRecord, int]:
        if self.record is None or consent_id != "c_1":
            raise UnknownConsentError(f"there is no consent {consent_id}")
        return self.record, 6

    async def list(self, child: str | None, parent: str | None) -> Sequence[ConsentRecord]:
        return [] if self.record is None or child not in {None, self.record.child} else [self.record]


class _Versions:
    """Stands for the gateways: `late` are behind for ever."""

    def __init__(self, late: tuple[str, ...] = ()) -> None:
        self.late = late
        self.waited: list[tuple[str, int]] = []

    async def wait_applied(self, name: str, version: int, timeout_seconds: float) -> Sequence[object]:
        self.waited.append((name, version))
        if self.late:
            raise NotAppliedError(name, version, self.late)
        return ()


def desk(records: _Records, versions: _Versions) -> ConsentDesk:
    return ConsentDesk(cast(ConsentRecords, records), cast(FactVersions, versions), lambda: NOW)


async def test_a_consent_is_answered_when_it_is_in_force() -> None:
    versions, records = _Versions(), _Records()
    shown = await desk(records, versions).grant(NEW)
    assert versions.waited == [(CONSENTS, 5)]
    assert (shown["id"], shown["child"], shown["parent"], shown["status"]) == ("c_1", "child_1", "parent_1", "in force")
    assert shown["expires_at"] == (NOW + timedelta(days=10)).isoformat()
    assert [one["id"] for one in await desk(records, versions).list("child_1", None)] == ["c_1"]
    assert await desk(records, versions).list("child_2", None) == []
    await desk(records, versions).revoke("c_1")
    assert versions.waited[-1] == (CONSENTS, 6)


async def test_what_cannot_be_done_says_why() -> None:
    one = desk(_Records(), _Versions())
    with pytest.raises(Refused, match="a method") as refused:
        await one.grant(NEW.model_copy(update={"method": "said_so"}))
    assert (refused.value.status, refused.value.code) == (422, "consent_not_possible")
    with pytest.raises(Refused, match="c_9") as unknown:
        await one.revoke("c_9")
    assert (unknown.value.status, unknown.value.code) == (404, "consent_not_found")


async def test_a_gateway_that_is_late_is_named() -> None:
    with pytest.raises(Refused, match="education@host") as refused:
        await desk(_Records(), _Versions(("education@host",))).grant(NEW)
    assert (refused.value.status, refused.value.code) == (504, "change_not_in_force")
