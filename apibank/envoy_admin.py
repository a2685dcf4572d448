"""Envoy's admin interface: is it ready, how busy is it, and how it leaves without breaking a request."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from apibank.probes import ask_http

_POLL_SECONDS: Final = 0.05


class EnvoyAdminError(Exception):
    """Envoy refused what its admin interface was asked."""


@dataclass(frozen=True, slots=True)
class EnvoyAdmin:
    """One Envoy's admin interface at HOST:PORT. Each question is a connection of its own."""

    target: str

    async def is_ready(self, listeners: int) -> bool:
        """Whether it is live and serves on at least so many listeners.

        /ready alone does not tell: an Envoy that has given up waiting for its configuration is live, with nothing.
        """
        answer = await ask_http(self.target, "/ready")
        if answer.status != 200:
            return False
        counts = await self.stats(r"^listener_manager\.total_listeners_(active|warming)$")
        active = counts.get("listener_manager.total_listeners_active", 0)
        return active >= listeners and counts.get("listener_manager.total_listeners_warming", 0) == 0

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match a regular expression. Raises EnvoyAdminError."""
        answer = await ask_http(self.target, f"/stats?format=json&filter={quote(pattern)}")
        if answer.status != 200:
            raise EnvoyAdminError(f"/stats answered {answer.status}")
        # Histograms come as one entry without a name of its own.
        return {one["name"]: int(one["value"]) for one in json.loads(answer.body)["stats"] if "name" in one}

    async def open_connections(self) -> int:
        """Connections that clients hold open now."""
        counts = await self.stats(r"^listener\..+\.downstream_cx_active$")
        return sum(
            count for name, count in counts.items() if not name.startswith("listener.admin.") and ".worker_" not in name
        )

    async def drain(self, notice_seconds: float, drain_seconds: float) -> None:
        """Leave as a client would want it, then quit.

        Health checks fail at once, so that a balancer has `notice_seconds` to turn away. Then connections are asked
        to close with their next answer; Envoy quits when none is left, at the latest after `drain_seconds`.
        """
        await self._post("/healthcheck/fail")
        await asyncio.sleep(notice_seconds)
        await self._post("/drain_listeners?graceful")
        # At the bound, what is still open is idle or too slow; the exit closes it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_seconds):
                await self._until_idle()
        await self._post("/quitquitquit")

    async def _until_idle(self) -> None:
        while True:
            if await self.open_connections() == 0:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _post(self, path: str) -> None:
        answer = await ask_http(self.target, path, "POST")
        if answer.status != 200:
            raise EnvoyAdminError(f"{path} answered {answer.status}")
