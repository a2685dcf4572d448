"""The portal's sessions, kept in the database."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from portal.developer.browser import Refusal
from portal.developer.person import Person, person_told
from records.errors import LOST_DATABASE
from records.portal_sessions import PortalSessions

T = TypeVar("T")


class StoredSessions:
    """The portal's port `Sessions`. While the database is away nobody is signed in, and all are told so."""

    def __init__(
        self,
        sessions: PortalSessions,
        clock: Callable[[], float] = time.time,
        admits: Callable[[str, str], bool] = lambda _, __: True,
    ) -> None:
        """`admits`: whether an issuer may state a role, by the policy in force at each page."""
        self._sessions = sessions
        self._clock = clock
        self._admits = admits

    async def open(self, person: Person) -> str:
        return await _there(self._sessions.open(person.told(), self._clock()))

    async def find(self, held: str) -> Person | None:
        told = await _there(self._sessions.find(held, self._clock()))
        person = None if told is None else person_told(dict(told))
        if person is None or not self._admits(person.issuer, person.role):
            return None
        return person

    async def close(self, held: str) -> None:
        await _there(self._sessions.close(held))


async def _there(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except LOST_DATABASE:
        raise Refusal(503, "The portal is away", "It cannot see who you are now. Try again in a moment.") from None
