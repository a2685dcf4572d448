"""Parents' consents through their whole life (R50, COPPA)."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from records.consents import LONGEST, ConsentMethod, ConsentRecord, ConsentRecords, NewConsent
from records.database import Database
from records.errors import ConsentRefusedError, UnknownConsentError
from records.fact_versions import CONSENTS, FactVersions
from tests.contract.records.conftest import NOW

DAY = timedelta(days=1)
GOOD = NewConsent("child_1", "parent_1", "signed_form", ("education",), 365 * DAY, "tests")


@pytest.fixture
def consents(database: Database) -> ConsentRecords:
    return ConsentRecords(database)


async def granted(consents: ConsentRecords, **changes: object) -> ConsentRecord:
    record, _ = await consents.grant(replace(GOOD, **changes), now=NOW)  # type: ignore[arg-type]
    return record


@pytest.mark.requirement("R50")
async def test_a_consent_says_who_for_whom_how_and_to_what(consents: ConsentRecords) -> None:
    record = await granted(consents, purposes=["third_party_disclosure", "education", "education"])
    assert (record.child, record.parent, record.method) == ("child_1", "parent_1", ConsentMethod.SIGNED_FORM)
    assert record.purposes == {"education", "third_party_disclosure"}
    assert (record.granted_at, record.expires_at, record.granted_by) == (NOW, NOW + 365 * DAY, "tests")
    assert await consents.list() == [record]


@pytest.mark.requirement("R50")
async def test_what_is_revoked_or_over_is_not_in_force_and_stays_on_record(consents: ConsentRecords) -> None:
    lasting, revoked = await granted(consents), await granted(consents, child="child_2")
    short = await granted(consents, child="child_3", lifetime=DAY)
    assert set((await consents.in_force(NOW)).by_child) == {"child_1", "child_2", "child_3"}
    await consents.revoke(revoked.consent_id, now=NOW + DAY)
    held = await consents.in_force(NOW + 2 * DAY)
    assert held.by_child == {"child_1": [lasting]}
    records = {one.consent_id: one for one in await consents.list()}
    assert records[revoked.consent_id].revoked_at == NOW + DAY
    assert records[revoked.consent_id].status(NOW) == "revoked"
    assert records[short.consent_id].status(NOW + 2 * DAY) == "expired"
    assert records[lasting.consent_id].status(NOW) == "in force"


async def test_every_change_grows_the_version_that_gateways_follow(
    consents: ConsentRecords, database: Database
) -> None:
    versions = FactVersions(database)
    record, first = await consents.grant(GOOD, now=NOW)
    _, second = await consents.revoke(record.consent_id, now=NOW)
    assert (first, second, await versions.current(CONSENTS)) == (1, 2, 2)
    # Nothing has changed by then.
    assert (await consents.revoke(record.consent_id, now=NOW + DAY))[1] == 2
    assert (await consents.in_force(NOW)).version == 2


async def test_the_consents_of_a_child_or_a_parent_are_listed(consents: ConsentRecords) -> None:
    one, two = await granted(consents), await granted(consents, child="child_2")
    other = await granted(consents, parent="parent_2")
    listed = await consents.list(parent="parent_1")
    # Granted at one moment, they have no order.
    assert sorted(listed, key=lambda record: record.child) == [one, two]
    assert {record.consent_id for record in await consents.list(child="child_1")} == {one.consent_id, other.consent_id}
    assert await consents.list(child="nobody") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"child": ""},
        {"child": "a b"},
        {"child": "x" * 256},
        {"parent": "parent\n"},
        {"parent": "child_1"},
        {"method": "said_so"},
        {"method": ""},
        {"purposes": ()},
        {"purposes": ("Education",)},
        {"purposes": tuple(f"p{number}" for number in range(21))},
        {"lifetime": timedelta()},
        {"lifetime": LONGEST + DAY},
        {"lifetime": -DAY},
    ],
)
async def test_a_consent_that_would_prove_nothing_is_refused(
    changes: dict[str, object], consents: ConsentRecords
) -> None:
    with pytest.raises(ConsentRefusedError):
        await granted(consents, **changes)
    assert await consents.list() == []


async def test_only_a_consent_that_there_is_can_be_revoked(consents: ConsentRecords) -> None:
    with pytest.raises(UnknownConsentError, match="c_nobody"):
        await consents.revoke("c_nobody", now=NOW)


async def test_a_consent_that_a_later_version_has_recorded_proves_nothing_and_spoils_no_other(
    consents: ConsentRecords, database: Database
) -> None:
    good, odd = await granted(consents), await granted(consents, child="child_2")
    async with database.writing() as session:
        await session.execute(text("UPDATE consents SET method = 'telepathy' WHERE id = :id"), {"id": odd.consent_id})
    held = await consents.in_force(NOW)
    assert held.by_child == {"child_1": [good]}
    assert held.version == 2


async def test_the_consents_of_many_children_are_all_read(consents: ConsentRecords, database: Database) -> None:
    many = 250
    async with database.writing() as session:
        await session.execute(
            text(
                "INSERT INTO consents (id, child, parent, method, purposes, granted_at, granted_by, expires_at)"
                " VALUES (:id, :child, 'parent_1', 'signed_form', '[]', '2026-01-01 00:00:00', '',"
                " '2999-01-01 00:00:00')"
            ),
            [{"id": f"c_{n}", "child": f"child_{n}"} for n in range(many)],
        )
    assert len((await consents.in_force(NOW)).by_child) == many
