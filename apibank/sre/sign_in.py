"""Two doors to one portal: people sign in at the customers' issuer, administrators at their own (C6)."""

from collections.abc import Mapping
from typing import Final

from apibank.ports import CENTRAL
from policy.model import Gateway
from portal.developer.sign_in import Begun, Issuing, SignedIn
from portal.sre.console import SRE

_ADMINS: Final = "a"
_PEOPLE: Final = "p"


class TwoDoors:
    """The portal's port `Issuing`. Each door signs what browsers keep with a key of its own."""

    def __init__(self, people: Issuing, admins: Issuing) -> None:
        self._doors: Mapping[str, Issuing] = {_PEOPLE: people, _ADMINS: admins}

    async def begin(self, callback: str, then: str) -> Begun:
        """By the page that somebody wants to come to. Raises SignInFailedError."""
        mark = _ADMINS if then == SRE or then.startswith(SRE + "/") else _PEOPLE
        begun = await self._doors[mark].begin(callback, then)
        return Begun(begun.address, f"{mark}.{begun.kept}")

    async def finish(self, callback: str, kept: str, answer: Mapping[str, str]) -> SignedIn:
        """Raises SignInFailedError."""
        mark, _, rest = kept.partition(".")
        return await self._doors.get(mark, self._doors[_PEOPLE]).finish(callback, rest, answer)


def admits(policies: Mapping[str, Gateway], issuer: str, role: str) -> bool:
    """Whether the central gateway admits this role by tokens of this issuer: customers' make no administrator."""
    central = policies.get(CENTRAL)
    if central is None:
        return False
    return any(
        one.issuer == issuer and role in central.callers.tokens.get(name, ()) for name, one in central.issuers.items()
    )
