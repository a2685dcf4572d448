"""The toy service, behind each of the two servers."""

from collections.abc import AsyncIterator
from typing import get_args

import pytest

from rpc.server import ServerKind
from tests.contract.rpc.toy import Served, serving


@pytest.fixture(params=get_args(ServerKind))
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    async with serving(request.param) as one:
        yield one
