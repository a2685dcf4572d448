"""The portal's sessions, kept in the database."""

import time
from collections.abc import Callable

from portal.developer.person import Person, person_told
from records.portal_sessions import PortalSessions


class StoredSessions:
    """The portal's port `Sessions`."""

    def __init__(self, sessions: PortalSessions, clock: Callable[[], float] = time.time) -> None:
        self._sessions = sessions
        self._clock = clock

    async def open(self, person: Person) -> str:
        return await self._sessions.open(person.told(), self._clock())

    async def find(self, held: str) -> Person | None:
        told = await self._sessions.find(held, self._clock())
        return None if told is None else person_told(dict(told))

    async def close(self, held: str) -> None:
        await self._sessions.close(held)
