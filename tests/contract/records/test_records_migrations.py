"""Every migration there, back and there again with rows in all tables; and processes older than the tables."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    func,
    insert,
    text,
)
from sqlalchemy import Table as ReflectedTable
from sqlalchemy import select as select_
from sqlalchemy.types import TypeEngine

from records.audit_log import AuditLog
from records.audit_verify import AuditVerification, Finding
from records.consents import ConsentRecords, NewConsent
from records.database import Database
from records.errors import SchemaError
from records.tables import Table
from records.upgrade import HEAD, downgrade, revision_of, revisions, upgrade
from tests.contract.records.conftest import NOW
from tests.contract.records.test_records_audit_chain import ENTRY

ORDER: Final = revisions()


def value_for(kind: TypeEngine[object], number: int) -> object:
    """Something that a column of that type holds, other for each number."""
    if isinstance(kind, DateTime):
        return NOW
    if isinstance(kind, Boolean):
        return False
    if isinstance(kind, (Integer, Numeric, Float)):
        return number
    if isinstance(kind, LargeBinary):
        return b"x"
    return ["x"] if isinstance(kind, JSON) else f"x{number}"


def reflected(connection: Connection) -> dict[str, ReflectedTable]:
    metadata = MetaData()
    metadata.reflect(connection)
    return {name: table for name, table in metadata.tables.items() if name != "alembic_version"}


def add_row_to_each(connection: Connection, number: int) -> None:
    for table in reflected(connection).values():
        connection.execute(insert(table).values({one.name: value_for(one.type, number) for one in table.columns}))


def counted(connection: Connection) -> Mapping[str, int]:
    return {
        name: connection.execute(select_(func.count()).select_from(table)).scalar_one()
        for name, table in reflected(connection).items()
    }


def shape(connection: Connection) -> object:
    """Columns with their types, and the names of indexes."""
    return {
        name: (
            {(one.name, str(one.type), one.nullable) for one in table.columns},
            {(index.name, tuple(index.columns.keys()), index.unique) for index in table.indexes},
        )
        for name, table in reflected(connection).items()
    }


async def told(url: str, look: object, *arguments: object) -> object:
    async with Database(url) as database, database.writing() as session:
        return await (await session.connection()).run_sync(look, *arguments)  # type: ignore[arg-type]


def test_the_newest_revision_is_the_last() -> None:
    assert ORDER[-1] == HEAD
    numbers = [int(name.partition("_")[0]) for name in ORDER]
    assert len(set(numbers)) == len(numbers)


async def test_every_migration_goes_there_back_and_there_again_with_rows(url: str) -> None:
    before: str | None = None
    for number, revision in enumerate(ORDER, start=1):
        old = await told(url, shape) if before else None
        await upgrade(url, revision)
        await told(url, add_row_to_each, number)
        new, rows = await told(url, shape), await told(url, counted)
        if before is not None:
            await downgrade(url, before)
            assert (revision, await told(url, shape)) == (revision, old)
            left = await told(url, counted)
            assert isinstance(left, dict)
            assert isinstance(rows, dict)
            assert left == {name: rows[name] for name in left}, revision
            await upgrade(url, revision)
            assert (revision, await told(url, shape)) == (revision, new)
            again = await told(url, counted)
            assert isinstance(again, dict)
            assert {name: again[name] for name in left} == left
        before = revision


async def test_all_the_way_back_and_there_again(url: str) -> None:
    await upgrade(url)
    await told(url, add_row_to_each, 1)
    await downgrade(url, ORDER[0])
    assert await revision_of(url) == ORDER[0]
    assert await told(url, counted) == {"admin_audit_logs": 1}
    await upgrade(url)

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Table.metadata))

    assert await told(url, differences) == []


async def brought_forward(url: str, revision: str) -> None:
    """As a later version leaves it, which has added a column to every table, and a table."""
    async with Database(url) as database, database.writing() as session:
        for name in Table.metadata.tables:
            await session.execute(text(f"ALTER TABLE {name} ADD COLUMN later VARCHAR(8) NOT NULL DEFAULT 'x'"))
        await session.execute(text("CREATE TABLE later (id INTEGER PRIMARY KEY)"))
        await session.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


async def test_an_older_process_starts_and_works_on_the_tables_of_a_newer(database: Database, url: str) -> None:
    await brought_forward(url, "099_later")
    await upgrade(url)
    assert await revision_of(url) == "099_later"
    entries = [replace(ENTRY, event_id=f"e{number}", timestamp=NOW) for number in range(3)]
    await AuditLog(database).write(entries)
    found = [one async for one in AuditVerification(database).verify("platform")]
    assert not [one for one in found if isinstance(one, Finding)]
    consents = ConsentRecords(database)
    await consents.grant(NewConsent("child", "parent", "phone_call", ["x"], timedelta(days=1)), now=NOW)
    assert list((await consents.in_force(NOW)).by_child) == ["child"]


@pytest.mark.parametrize("revision", ["100_without_something", "1234_much_later", "of somebody else"])
async def test_an_older_process_refuses_tables_that_it_cannot_serve(
    database: Database, url: str, revision: str
) -> None:
    await brought_forward(url, revision)
    with pytest.raises(SchemaError, match=revision):
        await upgrade(url)
    assert await revision_of(url) == revision


async def test_tables_of_a_later_version_are_taken_back_by_that_alone(database: Database, url: str) -> None:
    await brought_forward(url, "099_later")
    with pytest.raises(SchemaError, match="only that one can take it back"):
        await downgrade(url, HEAD)
    assert await revision_of(url) == "099_later"


async def test_what_is_no_way_back_is_said(url: str) -> None:
    with pytest.raises(SchemaError, match="no tables"):
        await downgrade(url, ORDER[0])
    await upgrade(url, ORDER[1])
    with pytest.raises(SchemaError, match="no revision '021'"):
        await downgrade(url, "021")
    with pytest.raises(SchemaError, match=f"before {HEAD}"):
        await downgrade(url, HEAD)
