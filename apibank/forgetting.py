"""A gateway whose file is gone goes on with its last good policy until somebody says that it is not coming back."""

import asyncio
from typing import Final

from apibank.control_plane import ControlPlane
from apibank.last_good import LastGood
from apibank.rollouts import BusyError, Rollouts, busy
from portal.problems import Refused
from records.errors import LOST_DATABASE

_AWAY: Final = "the database does not answer, and what it holds would be served again after a restart"


class Forgetting:
    """Never by itself: Envoys that are away for an hour must not come back to nothing."""

    def __init__(self, control: ControlPlane, rollouts: Rollouts, last_good: LastGood) -> None:
        self._control = control
        self._rollouts = rollouts
        self._last_good = last_good

    async def forget(self, gateway: str) -> None:
        """Drop what is published, and what would be served after a restart; the history stays. Raises Refused."""
        async with self._control.changing(gateway):
            await self._check(gateway)
            try:
                await self._last_good.forget(gateway)
            except LOST_DATABASE:
                raise Refused(503, "database_away", _AWAY) from None
            # Meanwhile one may have connected: what it runs is what it was told before.
            self._check_envoys(gateway)
            self._control.forget(gateway)

    async def _check(self, gateway: str) -> None:
        if gateway not in self._control.states:
            raise Refused(404, "gateway_not_found", f"there is no gateway {gateway!r}")
        try:
            await self._rollouts.check_none(gateway)
        except BusyError as error:
            raise busy(error) from None
        except LOST_DATABASE:
            raise Refused(503, "database_away", _AWAY) from None
        if gateway in await asyncio.to_thread(self._control.folder.names):
            file = self._control.folder.folder / f"{gateway}.yaml"
            raise Refused(409, "file_there", f"{file} says what {gateway} does: take it away first")
        self._check_envoys(gateway)

    def _check_envoys(self, gateway: str) -> None:
        if nodes := self._control.publisher.nodes.ids(gateway):
            some = ", ".join(nodes[:5]) + (f" and {len(nodes) - 5} more" if len(nodes) > 5 else "")
            raise Refused(409, "envoys_connected", f"{gateway} is still served: stop its Envoys first: {some}")
