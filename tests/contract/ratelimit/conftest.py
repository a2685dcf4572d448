"""The service with its counters in memory, on each of the two servers, and a clock that the test moves."""

from collections.abc import AsyncIterator

import pytest

from ratelimit.memory_store import MemoryStore
from tests.contract.ratelimit.service import NOON, Asked, serving


@pytest.fixture(params=["native", "grpcio"])
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[Asked]:
    clock = [NOON]
    store = MemoryStore(steady=lambda: clock[0], wall=lambda: clock[0])
    async with serving(store, request.param, clock) as service:
        yield service
