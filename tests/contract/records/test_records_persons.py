"""One person taken out of every table, while everybody else and the audit's chains stay as they were."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, select, text

from records.audit_erasure import AuditErasure, Erased
from records.audit_log import AuditEntry, AuditLog
from records.audit_retention import AuditRetention
from records.audit_verify import Anchors, AuditVerification, Finding, Flaw, Verified
from records.database import Database
from records.persons import Person, Persons
from records.tables import (
    AccessLogRow,
    ConsentRow,
    DeliveryRow,
    KeyRow,
    PortalSessionRow,
    RevocationRow,
    SpanRow,
    Table,
    UsageRow,
    WebhookRow,
)
from tests.contract.records.conftest import NOW

ANN = Person("ann.lee", "a" * 24)
# Whose subject begins as hers does.
OTHER = Person("ann.lee2", "b" * 24)
ENTRY = AuditEntry(
    timestamp=NOW, gateway="platform", endpoint="/api/platform/people/ann", method="GET", outcome="allowed", status=200,
    ip="10.0.0.7", user_agent="browser of ann", role="admin",
)  # fmt: skip


def entries(person: Person, count: int, first: int = 0) -> list[AuditEntry]:
    return [
        replace(
            ENTRY, principal=person.principal, event_id=f"{person.pseudonym[0]}{number}",
            request_id=f"{person.subject}-r", timestamp=NOW + timedelta(seconds=number),
        )
        for number in range(first, first + count)
    ]  # fmt: skip


async def fill(database: Database, person: Person, until: datetime) -> None:
    """A row of theirs in every table that can have one."""
    name, pseudonym, principal = person.subject, person.pseudonym, person.principal
    rows: list[tuple[type[Table], dict[str, object]]] = [
        (ConsentRow, {"id": f"c_{name}", "child": name, "parent": "parent_1", "method": "phone_call", "purposes": ["x"],
                      "granted_at": NOW, "granted_by": name, "expires_at": NOW + timedelta(days=9)}),
        (RevocationRow, {"id": f"r_{name}", "issuer": "i", "subject": name, "issued_until": NOW, "until": until,
                         "reason": "", "revoked_by": name, "revoked_at": NOW}),
        (PortalSessionRow, {"digest": name, "person": {"subject": name, "name": f"Name of {name}"}, "seen_at": 1.0,
                            "ends_at": 2.0}),
        (KeyRow, {"id": f"k_{name}", "digest": f"d_{name}", "partner": "acme", "name": "n", "tier": "t", "scopes": [],
                  "created_at": NOW, "created_by": principal, "expires_at": NOW}),
        (WebhookRow, {"id": f"wh_{name}", "partner": "acme", "url": "https://x", "secret": "s", "events": [],
                      "created_at": 1.0, "created_by": principal}),
        (DeliveryRow, {"id": f"m_{name}", "webhook": "wh", "event": "e", "body": json.dumps({"who": name}),
                       "created_at": 1.0, "attempts": 0, "status": "waiting", "answer": ""}),
        (AccessLogRow, {"at": 1.0, "gateway": "central", "node": "c-1", "request_id": f"req-{name}", "method": "GET",
                        "path": "/", "route": "r", "status": 200, "details": "", "flags": "", "upstream": "",
                        "attempts": 1, "octets_in": 1, "octets_out": 1, "address": "10.0.0.7", "user_agent": "",
                        "caller": principal, "subject": pseudonym, "tenant": "", "tier": "", "role": "",
                        "outcome": "allowed"}),
        (SpanRow, {"trace_id": f"t{name}", "span_id": "1", "parent_id": "", "service": "central", "name": "n",
                   "kind": "server", "start": 1.0, "duration": 1.0, "status": 200, "failed": False, "edge": True,
                   "request_id": f"req-{name}", "attributes": {}}),
        (SpanRow, {"trace_id": f"t{name}", "span_id": "2", "parent_id": "1", "service": "authz", "name": "n",
                   "kind": "server", "start": 1.0, "duration": 1.0, "status": 200, "failed": False, "edge": False,
                   "request_id": "", "attributes": {"who": name}}),
        (UsageRow, {"grain": 60, "start": 1, "scope": "edge", "gateway": "central", "route": "r", "caller": principal,
                    "tenant": "", "tier": "", "status": 200, "requests": 7, "failed": 0, "octets_in": 1,
                    "octets_out": 1, "duration": 1.0, "histogram": ""}),
    ]  # fmt: skip
    async with database.writing() as session:
        for table, row in rows:
            await session.execute(insert(table).values(row))


async def everything(database: Database) -> str:
    """All that all tables say."""
    async with database.reading() as session:
        tables = [
            [str(tuple(row)) for row in await session.execute(select(table))] for table in Table.metadata.sorted_tables
        ]
    return "\n".join(row for rows in tables for row in rows)


async def verified(database: Database, anchors: Anchors | None = None) -> tuple[list[Flaw], Verified]:
    found = [one async for one in AuditVerification(database).verify("platform", anchors)]
    last = found.pop()
    assert isinstance(last, Verified)
    return [one.flaw for one in found if isinstance(one, Finding)], last


def vouched(done: Sequence[Erased]) -> Anchors:
    return Anchors(erasures=tuple(end for one in done for end in one.said))


@pytest.mark.requirement("R36")
async def test_nothing_of_a_person_is_left_in_any_table_and_all_of_the_others_is(database: Database) -> None:
    await AuditLog(database).write([*entries(ANN, 50), *entries(OTHER, 1), *entries(ANN, 50, 100)])
    for person in (ANN, OTHER):
        await fill(database, person, NOW)
    before = await everything(database)
    assert all(word in before for word in ("'ann.lee'", ANN.pseudonym, "req-ann.lee'"))

    done = await Persons(database).erase(ANN, NOW)
    audit = await AuditErasure(database).erase(ANN.principal, ANN.pseudonym, "ops", NOW)

    after = (await everything(database)).replace("ann.lee2", "OTHER")
    # The ids of rows that stay are this test's own.
    for own in ("k_", "d_", "wh_"):
        after = after.replace(f"'{own}ann.lee'", "")
    assert "ann.lee" not in after
    assert ANN.pseudonym not in after
    assert [(one.gateway, one.rows, len(one.said)) for one in audit] == [("platform", 100, 3)]
    assert dict(done) == {
        "spans": 2, "consents": 1, "revocations": 1, "portal_sessions": 1, "access_log": 1, "usage": 1,
        "webhook_deliveries": 1, "api_keys": 1, "webhooks": 1,
    }  # fmt: skip
    flaws, whole = await verified(database, vouched(audit))
    assert (flaws, whole.rows, whole.erased) == ([], 104, 100)
    # What everybody did together is what it was.
    async with database.reading() as session:
        assert await session.scalar(text("SELECT sum(requests) FROM usage")) == 14
    rows = await Persons(database).rows(OTHER)
    assert {name: len(of) for name, of in rows.items()} == {
        "spans": 2, "consents": 1, "revocations": 1, "portal_sessions": 1, "access_log": 1, "usage": 1,
        "webhook_deliveries": 1,
    }  # fmt: skip
    assert not await Persons(database).rows(ANN)
    # Done again it finds nothing, and says nothing in the chain.
    assert not await Persons(database).erase(ANN, NOW)
    assert list(await AuditErasure(database).erase(ANN.principal, ANN.pseudonym, "ops", NOW)) == []


async def test_a_revocation_in_force_stays_until_the_tokens_that_it_refuses_have_ended(database: Database) -> None:
    until = NOW + timedelta(hours=1)
    await fill(database, ANN, until)
    done = await Persons(database).erase(ANN, NOW)
    # Who revoked is gone from it; whose tokens are refused is not.
    assert done["revocations"] == 1
    assert await Persons(database).kept(ANN, NOW) == until
    later = until + timedelta(seconds=1)
    assert dict(await Persons(database).erase(ANN, later)) == {"revocations": 1}
    assert await Persons(database).kept(ANN, NOW) is None


async def test_a_parent_who_is_erased_consents_to_nothing(database: Database) -> None:
    await fill(database, ANN, NOW)
    assert (await Persons(database).erase(Person("parent_1", "c" * 24), NOW))["consents"] == 1


async def test_nobody_passes_an_edit_off_as_an_erasure(database: Database) -> None:
    await AuditLog(database).write([*entries(ANN, 2), *entries(OTHER, 1)])
    async with database.writing() as session:
        await session.execute(text("UPDATE admin_audit_logs SET principal = 'erased' WHERE position = 1"))
    assert (await verified(database))[0] == [Flaw.EDITED]

    # An erasure that nobody vouches for is none where anything is known of the chain from elsewhere.
    other = await AuditErasure(database).erase(OTHER.principal, OTHER.pseudonym, "thief", NOW)
    (end,) = await AuditLog(database).ends("platform")
    assert (await verified(database))[0] == [Flaw.EDITED]
    assert (await verified(database, Anchors(ends=(end,))))[0] == [Flaw.EDITED] * 2
    assert (await verified(database, vouched(other)))[0] == [Flaw.EDITED]


@pytest.mark.parametrize("change", ["outcome = 'denied'", "status = 404", "method = 'PUT'", "route = 'x'", "role = ''"])
async def test_what_is_left_of_an_erased_row_is_proven(database: Database, change: str) -> None:
    await AuditLog(database).write(entries(ANN, 3))
    done = await AuditErasure(database).erase(ANN.principal, ANN.pseudonym, "ops", NOW)
    assert (await verified(database, vouched(done)))[0] == []
    async with database.writing() as session:
        await session.execute(text(f"UPDATE admin_audit_logs SET {change} WHERE position = 2"))
    assert (await verified(database, vouched(done)))[0] == [Flaw.EDITED]


async def test_erased_rows_are_removed_when_they_are_old(database: Database) -> None:
    await AuditLog(database).write(entries(ANN, 5))
    done = await AuditErasure(database).erase(ANN.principal, ANN.pseudonym, "ops", NOW + timedelta(hours=1))
    pruned = await AuditRetention(database).prune("platform", NOW + timedelta(seconds=2))
    assert pruned is not None
    assert pruned.removed == 2
    flaws, whole = await verified(database)
    assert (flaws, whole.rows, whole.erased) == ([], 4, 3)
    assert done[0].rows == 5
