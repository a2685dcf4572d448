"""What the control plane of a stack says of itself, and waiting for it."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2

from tests.support.stack import Stack


class Published:
    """The control API, asked as a script would."""

    def __init__(self, stack: Stack) -> None:
        secret = (stack.state_dir / "control.token").read_text(encoding="utf-8").strip()
        self.http = httpx2.AsyncClient(
            base_url=stack.ready.control_api, headers={"authorization": f"Bearer {secret}"}, timeout=15
        )

    async def gateway(self, name: str) -> dict[str, Any]:
        """The gateway's entry of the status."""
        answer = await self.http.get("/v1/status?resources=false")
        return next(one for one in answer.json()["gateways"] if one["gateway"] == name)

    async def another_than(self, name: str, version: str, seconds: float = 15) -> str:
        """The version of the gateway's next change, once all of its Envoys run it."""

        async def live() -> str | None:
            one = await self.gateway(name)
            return one["version"] if one["version"] != version and 0 < one["envoys"] == one["live"] else None

        deadline = time.monotonic() + seconds
        while (found := await live()) is None:
            assert time.monotonic() < deadline, await self.gateway(name)
            await asyncio.sleep(0.02)
        return found


async def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.05)
