"""Former changes of policies, for the control API: as records, and as what one goes back to."""

from typing import Final

from apibank.control_plane import ControlPlane
from portal.policies_api import RollbackRequest
from portal.problems import Refused
from records.errors import LOST_DATABASE
from records.policy_history import EVER_LIVE, PolicyHistory, Recorded

DATABASE_AWAY: Final = "the database does not answer, and a change that cannot be recorded is not made"


class Past:
    """Finds what somebody means by a revision, the beginning of a version, or nothing at all."""

    def __init__(self, history: PolicyHistory, control: ControlPlane) -> None:
        self._history = history
        self._control = control

    async def target(self, request: RollbackRequest) -> Recorded:
        """What a rollback goes back to. Raises Refused."""
        try:
            if request.target is None:
                return await self._before(request.gateway)
            if request.target.isdigit() and (found := await self._history.find(int(request.target))) is not None:
                return _one_of(request.gateway, found)
            matching = await self._history.of_version(request.target, request.gateway)
        except LOST_DATABASE:
            raise Refused(503, "database_away", DATABASE_AWAY) from None
        if len(matching) > 1:
            several = ", ".join(f"{one.entry.gateway} {one.entry.version}" for one in matching[:5])
            raise Refused(409, "version_ambiguous", f"{request.target!r} is the beginning of several: {several}")
        if not matching:
            raise Refused(404, "revision_not_found", f"no revision and no version is called {request.target!r}")
        return matching[0]

    async def _before(self, gateway: str | None) -> Recorded:
        """What was live before the last change."""
        if gateway is None:
            newest = await self._history.newest_live(tuple(self._control.states))
            if newest is None:
                raise Refused(404, "revision_not_found", "nothing has been live yet")
            gateway = newest.entry.gateway
        if gateway not in self._control.states:
            raise Refused(404, "gateway_not_found", f"there is no gateway {gateway!r}")
        live = self._control.policy_of(gateway)
        before = await self._history.live_before(gateway, "" if live is None else live.version)
        if before is None:
            raise Refused(404, "revision_not_found", f"nothing else was live of {gateway} before")
        return before


def _one_of(gateway: str | None, found: Recorded) -> Recorded:
    if gateway not in (None, found.entry.gateway):
        detail = f"revision {found.revision} is one of {found.entry.gateway}, not of {gateway}"
        raise Refused(422, "revision_of_another", detail)
    if found.entry.result not in EVER_LIVE:
        detail = (
            f"revision {found.revision} was never live ({found.entry.result.value}): there is nothing to go back to"
        )
        raise Refused(409, "revision_never_live", detail)
    return found


def history_record(one: Recorded) -> dict[str, object]:
    """For the control API; without the text, which may be long."""
    entry = one.entry
    return {
        "revision": one.revision,
        "gateway": entry.gateway,
        "version": entry.version,
        "at": entry.at,
        "author": entry.author,
        "message": entry.message,
        "source": entry.source.value,
        "result": entry.result.value,
        "detail": entry.detail,
        "canary_percent": entry.canary_percent,
    }
