"""Users that may do what docs/operate/limit-stores.md says and nothing else, under Sentinels and in a cluster."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from apibank.valkey_process import find_valkey
from authz.decision import NonceClaim
from authz.redis_store import RedisFailures, RedisNonceStore
from ratelimit.algorithms import SlidingWindow
from ratelimit.store import Charge, Loss, Unavailable
from tests.contract.ratelimit.stores import PASSWORD, USER, admitted, opened, remaining
from tests.support.redis_servers import REDIS, Server, cluster, folder, needs_redis, watched
from tests.support.stack import ROOT

ASKING, ITS_PASSWORD = "who-asks-sentinels", "another?password&with=signs"
CHARGE = Charge(b"rl:{a}:one", SlidingWindow(3, 86_400_000_000))
PAGE = (ROOT / "docs" / "operate" / "limit-stores.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Guarded:
    """A store's URL for the user, and its servers."""

    url: str
    servers: Sequence[Server]

    def take_away(self, command: str) -> None:
        for server in self.servers:
            _set_user(server, USER, f"-{command}")


@pytest.fixture(params=["sentinel", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["valkey", pytest.param("redis", marks=needs_redis)])
def guarded(kind: str, request: pytest.FixtureRequest) -> Iterator[Guarded]:
    binary = str(find_valkey() if request.param == "valkey" else REDIS)
    with folder() as path:
        passwords = path / "password", path / "sentinels"
        for file, password in zip(passwords, (PASSWORD, ITS_PASSWORD), strict=True):
            file.write_text(password + "\n", encoding="utf-8")
        with (_watched if kind == "sentinel" else _cluster)(binary, *passwords) as found:
            yield found


@contextmanager
def _watched(binary: str, password: Path, sentinels: Path) -> Iterator[Guarded]:
    with watched(binary) as group:
        for server in group.servers:
            _set_user(server, USER, *_rules(), *_more("# Sentinels: also "))
            _set_user(server, "default", "-evalsha")
        for sentinel in group.sentinels:
            _set_user(sentinel, ASKING, "on", f">{ITS_PASSWORD}", "-@all", *_more("at the Sentinels themselves "))
            _set_user(sentinel, "default", "-sentinel|get-master-addr-by-name", "-sentinel|masters")
        query = f"&password_file={password}&sentinel_user={ASKING}&sentinel_password_file={sentinels}"
        yield Guarded(group.url.replace("://", f"://{USER}@") + query, group.servers)


@contextmanager
def _cluster(binary: str, password: Path, _: Path) -> Iterator[Guarded]:
    with cluster(binary) as nodes:
        servers = (*nodes.masters, nodes.replica)
        for server in servers:
            _set_user(server, USER, *_rules(), *_more("# a cluster: also "))
            _set_user(server, "default", "-evalsha")
        yield Guarded(nodes.url.replace("://", f"://{USER}@") + f"?password_file={password}", servers)


def _rules() -> list[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"user {USER} ")]
    return [word.replace("PASSWORD", PASSWORD) for word in line.split()[2:]]


def _more(after: str) -> list[str]:
    """The commands that the page lists behind these words."""
    (found,) = re.finditer(re.escape(after) + r"([^;\n]+)", PAGE)
    return found[1].split()


def _set_user(server: Server, *words: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", *words)


async def test_limits_are_counted_by_the_user_of_the_page(guarded: Guarded) -> None:
    async with opened(guarded.url) as one, opened(guarded.url) as other:
        assert [await admitted(store, CHARGE) for store in (one, other, one, other)] == [True, True, True, False]
        assert await remaining(one, CHARGE) == [0]
        assert await one.ready()


async def test_nonces_and_failures_are_kept_by_the_user_of_the_page(guarded: Guarded) -> None:
    nonces = RedisNonceStore.from_url(guarded.url, "agents", timeout=10)
    failures = RedisFailures.from_url(guarded.url, "agents", timeout=10)
    claim = NonceClaim("content", "nonce", 120)
    assert [await nonces.spend_many([claim]) for _ in range(2)] == [[True], [False]]
    assert [await failures.add({"192.0.2.1": 1}) for _ in range(2)] == [{"192.0.2.1": 1}, {"192.0.2.1": 2}]
    await nonces.close()
    await failures.close()


WRONG: Sequence[Callable[[str], str]] = (
    lambda url: url.replace("/password", "/sentinels", 1),
    lambda url: url.replace(f"{USER}@", "nobody@"),
)


@pytest.mark.parametrize("changed", WRONG, ids=["another password", "another user"])
async def test_whoever_else_asks_is_refused_and_charges_nothing(
    changed: Callable[[str], str], guarded: Guarded
) -> None:
    async with opened(changed(guarded.url)) as stranger, opened(guarded.url) as known:
        assert await stranger.charge((CHARGE,)) == Unavailable(Loss.REFUSED)
        assert await remaining(known, CHARGE) == [3]


async def test_a_right_that_is_taken_away_is_a_loss_and_counts_again_when_it_is_back(guarded: Guarded) -> None:
    async with opened(guarded.url) as store:
        assert await admitted(store, CHARGE)
        guarded.take_away("evalsha")
        assert await store.charge((CHARGE,)) == Unavailable(Loss.REFUSED)
        for server in guarded.servers:
            _set_user(server, USER, "+evalsha")
        assert await admitted(store, CHARGE)
        assert await remaining(store, CHARGE) == [1]
