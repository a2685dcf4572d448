"""What several control planes of one database say of the changes that they make: mine goes on, yours is left alone."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from apibank.candidates import PolicyFiles
from records.change_claims import ChangeClaims, Claim
from records.errors import LOST_DATABASE
from records.policy_history import PolicyHistory

RENEW_SECONDS: Final = 3.0
_Made = TypeVar("_Made")
_Why = TypeVar("_Why")
ENDED: Final = "the control plane ended while it was being made"
_LOG: Final = structlog.get_logger(__name__)


class Claims:
    """Those of this process, by its own name, and what has become of the others'."""

    def __init__(self, claims: ChangeClaims, history: PolicyHistory, files: PolicyFiles) -> None:
        self.holder: Final = secrets.token_hex(8)
        self._claims = claims
        self._history = history
        self._files = files
        self._looked = False

    async def lost(self, gateway: str, revision: int) -> None:
        """Renews the claim, and returns when somebody has given it up. A database that is away gives nothing up."""
        mine = Claim(gateway, self.holder, revision)
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                if not await self._claims.renew(mine):
                    return
            except LOST_DATABASE as error:
                _LOG.warning("claim_not_renewed", gateway=gateway, revision=revision, error=type(error).__name__)

    async def elsewhere(self, gateway: str) -> Claim | None:
        """The change that another control plane makes of this gateway now. Raises one of LOST_DATABASE."""
        return next(
            (one for one in await self._claims.held() if one.gateway == gateway and one.holder != self.holder), None
        )

    async def follow(self, stop: asyncio.Event, gateways: Callable[[], tuple[str, ...]]) -> None:
        """Close what other processes have left unfinished, now and while this one runs, until stopped."""
        while not stop.is_set():
            with contextlib.suppress(*LOST_DATABASE):
                await self.close_abandoned(gateways)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RENEW_SECONDS)

    async def close_abandoned(self, gateways: Callable[[], tuple[str, ...]]) -> None:
        """The base goes on where a change has nobody who makes it. Raises one of LOST_DATABASE."""
        # Whoever offers a candidate has claimed its change before: what lies there now and is not claimed is left over.
        left = await self._files.candidates()
        gone = await self._claims.give_up_lapsed(self.holder)
        if self._looked and not gone:
            return
        held = {one.gateway for one in await self._claims.held()}
        for gateway in [each for each in left if each not in held]:
            _LOG.warning("candidate_dropped", gateway=gateway)
            await self._files.withdraw(gateway)
        names = {*await asyncio.to_thread(gateways), *left, *(one.gateway for one in gone)}
        await self._history.abandon_running(tuple(sorted(names)), ENDED)
        self._looked = True


async def unless(made: Awaitable[_Made], ended: Awaitable[_Why]) -> _Made | _Why:
    """What is made; or, as soon as `ended` returns, why it is not: what goes on then is cancelled."""
    making, ending = asyncio.ensure_future(made), asyncio.ensure_future(ended)
    try:
        await asyncio.wait({making, ending}, return_when=asyncio.FIRST_COMPLETED)
        return making.result() if making.done() else ending.result()
    finally:
        making.cancel()
        ending.cancel()
        await asyncio.gather(making, ending, return_exceptions=True)
