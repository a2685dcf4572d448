"""The database: SQLite in a file for one machine, PostgreSQL for a deployment; the same code for both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Self

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Dialect,
    Double,
    Engine,
    cast,
    event,
    extract,
    func,
    literal_column,
    make_url,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DataError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from records.errors import DatabaseUrlError
from records.password_file import PasswordFile, split_reference

# How long a writer of SQLite waits for another process, and a call of PostgreSQL for its answer.
WAIT_SECONDS: Final = 10
_WRITES: Final = "apibank_writes"
_STAMP: Final = "apibank_password_stamp"
# Class 22, "Data Exception" (PostgreSQL, Appendix A): the statement can never be done with these values.
_DATA_EXCEPTION: Final = "22"
# Parameters stay out of error messages: they name people, addresses and digests of keys.
_POOL: Final = {"pool_size": 4, "max_overflow": 4, "hide_parameters": True}


class Database:
    """A pool of connections. Sessions are handed out for reading or for writing, one transaction each."""

    def __init__(self, url: str) -> None:
        """`url`: `sqlite:///PATH` or `postgresql://USER:PASSWORD@HOST/NAME`. Connects when first used.

        `postgresql://USER@HOST/NAME?password_file=PATH`: the file's password, also after it has changed.
        """
        address, self._password = _address(url)
        self.sqlite: Final = address.get_backend_name() == "sqlite"
        if self.sqlite:
            self._engine = create_async_engine(address, **_POOL)
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        else:
            timeouts = {"timeout": WAIT_SECONDS, "command_timeout": WAIT_SECONDS}
            self._engine = create_async_engine(address, pool_pre_ping=True, connect_args=timeouts, **_POOL)
        event.listen(self._engine.sync_engine, "handle_error", _told_as_data_error, retval=True)
        if self._password is not None:
            _follow_password(self._engine.sync_engine, self._password)
        self._writer = self._engine.execution_options(**{_WRITES: True})

    @property
    def clock(self) -> ColumnElement[float]:
        """The database's own time, seconds since the epoch: one clock for every process that shares it."""
        if self.sqlite:
            return literal_column("(julianday('now') - 2440587.5) * 86400.0")
        return cast(extract("epoch", func.clock_timestamp()), Double)

    def insert_into(self, table: type[DeclarativeBase]) -> postgresql.Insert | sqlite.Insert:
        """An INSERT that can say what happens where the row is there already (ON CONFLICT)."""
        return sqlite.insert(table) if self.sqlite else postgresql.insert(table)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A transaction that changes nothing."""
        async with AsyncSession(self._engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed at the end, and rolled back where the body raises."""
        async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    async def overwrite(self, session: AsyncSession) -> None:
        """What this session removes is overwritten, and not only given up. PostgreSQL does so when it vacuums."""
        if self.sqlite:
            await session.execute(text("PRAGMA secure_delete = ON"))

    async def close(self) -> None:
        """Close every connection. The database is not used after it."""
        await self._engine.dispose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _follow_password(engine: Engine, file: PasswordFile) -> None:
    """Connections are made with what the file says then; those that were made before it changed are not used again."""

    def connect(
        dialect: Dialect, record: ConnectionPoolEntry, arguments: list[object], options: dict[str, object]
    ) -> None:
        record.info[_STAMP] = file.stamp()
        options["password"] = file.read()

    def check_out(connection: DBAPIConnection, record: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
        stamp = file.stamp()
        if stamp is not None and record.info.get(_STAMP) != stamp:
            # The pool makes a new one in its place.
            raise DisconnectionError("the password file has changed")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", check_out)


def _told_as_data_error(context: ExceptionContext) -> BaseException | None:
    """What no column can hold is a DataError with each driver: asyncpg's has no class, sqlite3's is Python's own."""
    cause = context.original_exception
    state = getattr(cause, "sqlstate", None) or ""
    if isinstance(cause, (OverflowError, UnicodeEncodeError)) or state.startswith(_DATA_EXCEPTION):
        return DataError(context.statement, None, cause, hide_parameters=True)
    return None


def _address(url: str) -> tuple[URL, PasswordFile | None]:
    try:
        plain, password = split_reference(url)
    except ValueError as error:
        raise DatabaseUrlError(str(error)) from None
    address = _driver_url(plain)
    return address if password is None else address.set(username=password.user or None), password


def _driver_url(written: str) -> URL:
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        # Neither the text nor the cause: there may be a password in them.
        raise DatabaseUrlError("the database is sqlite:///PATH or postgresql://USER@HOST/NAME") from None
    if url.drivername == "sqlite" and url.database and url.database != ":memory:":
        return url.set(drivername="sqlite+aiosqlite")
    if url.drivername in {"postgresql", "postgres"} and url.database:
        # libpq's word for it; asyncpg knows it as `ssl`.
        query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
        return url.set(drivername="postgresql+asyncpg", query=query)
    raise DatabaseUrlError("the database is sqlite:///PATH or postgresql://USER@HOST/NAME")


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver would begin transactions by itself, and only at the first change; see _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # An audit row that was acknowledged survives a loss of power.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another process wrote in between; one that
    # takes the write lock at its start waits for its turn instead.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
