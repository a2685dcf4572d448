"""Which databases can be named."""

import pytest

from records.database import Database
from records.errors import DatabaseUrlError


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///records.db",
        "sqlite:////var/lib/apibank/records.db",
        "postgresql://apibank@db.internal/apibank",
        "postgresql://apibank:secret@db.internal:5433/apibank?sslmode=require",
        "postgresql://apibank@/apibank?host=/run/postgresql",
    ],
)
async def test_sqlite_files_and_postgresql_are_databases(url: str) -> None:
    async with Database(url) as database:
        assert database.sqlite == url.startswith("sqlite")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "records.db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://db.internal",
        "mysql://root:hunter2@db/apibank",
        "sqlite+pysqlite:///x",
        "postgresql+psycopg://u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d",
    ],
)
def test_anything_else_is_refused_without_showing_what_may_be_a_password(url: str) -> None:
    with pytest.raises(DatabaseUrlError) as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
