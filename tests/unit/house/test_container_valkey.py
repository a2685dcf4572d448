"""The Valkey of compose.yaml, started with its own command line and users: it serves the stores, and only them."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apibank.valkey_process import find_valkey
from authz.decision import NonceClaim
from authz.redis_store import RedisNonceStore
from deploy.make_secrets import make_secrets
from ratelimit.algorithms import FixedWindow
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, Outcome
from tests.support.compose import services


@dataclass(frozen=True)
class RunningValkey:
    port: int
    password: str

    def client(self, user: str | None = None, password: str | None = None) -> redis.Redis:
        return redis.Redis(port=self.port, username=user, password=password, protocol=2, retry=Retry(NoBackoff(), 0))

    @property
    def url(self) -> str:
        """The store's URL, with this server's address in place of the container's."""
        return f"redis://apibank:{self.password}@127.0.0.1:{self.port}/0"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    folder = tmp_path_factory.mktemp("valkey")
    secrets, data = folder / "secrets", folder / "data"
    make_secrets(secrets, datetime.now(UTC))
    data.mkdir()
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    places = {"/data": str(data), "/run/secrets/valkey-users": str(secrets / "valkey-users")}
    words = [places.get(word, word) for option in services()["valkey"]["command"] for word in option.split(" ")]
    command = [
        str(find_valkey()),
        *(word.replace('""', "") for word in words[1:]),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
    ]
    url = (secrets / "store-url").read_text()
    assert url.startswith("redis://apibank:")
    assert url.endswith("@valkey:6379/0")
    running = RunningValkey(port, (secrets / "valkey-password").read_text())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _wait_until_it_answers(process, running)
        yield running
        process.terminate()


def _wait_until_it_answers(process: subprocess.Popen[bytes], valkey: RunningValkey) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        assert process.poll() is None
        with contextlib.suppress(redis.ConnectionError), valkey.client("health", "any") as client:
            client.ping()
            return
        time.sleep(0.02)
    pytest.fail("Valkey did not answer")


def test_nobody_gets_in_without_a_password(valkey: RunningValkey) -> None:
    with valkey.client() as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def test_the_health_checks_user_can_ping_and_nothing_else(valkey: RunningValkey) -> None:
    test = services()["valkey"]["healthcheck"]["test"]
    assert "--user health" in test[1]
    with valkey.client("health", "any") as client:
        assert client.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("x")


async def test_limits_are_counted(valkey: RunningValkey) -> None:
    store = RedisStore.from_url(valkey.url, timeout=5)
    try:
        outcomes = [await store.charge([Charge(b"limit", FixedWindow(1, 10**15))]) for _ in range(2)]
    finally:
        await store.close()
    assert [outcome.admitted for outcome in outcomes if isinstance(outcome, Outcome)] == [True, False]


async def test_a_nonce_is_spent_once(valkey: RunningValkey) -> None:
    async with redis.asyncio.Redis.from_url(valkey.url) as client:
        nonces = RedisNonceStore(client, "agents", timeout=5)
        claim = NonceClaim("content", "n1", 120)
        assert [await nonces.spend(claim), await nonces.spend(claim)] == [True, False]


@pytest.mark.parametrize("command", ["CONFIG GET *", "FLUSHALL", "ACL LIST", "KEYS *", "SHUTDOWN", "MONITOR"])
def test_the_services_cannot_read_or_change_the_server(valkey: RunningValkey, command: str) -> None:
    with valkey.client("apibank", valkey.password) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_counters_survive_a_restart_and_are_never_evicted(valkey: RunningValkey) -> None:
    with valkey.client("apibank", valkey.password) as client:
        persistence, memory = client.info("persistence"), client.info("memory")
    assert persistence["aof_enabled"] == 1
    assert memory["maxmemory_policy"] == "noeviction"
    assert memory["maxmemory"] == 256 * 1024 * 1024
