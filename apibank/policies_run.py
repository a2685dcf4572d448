"""The policies that a gateway's Envoys may run: refused tables of routes go on under the policy that they came from."""

from collections.abc import Iterable

from policy.model import Gateway
from xds.snapshot import ROUTE, Snapshot


class PoliciesRun:
    """Those that were made live or tried, as long as anything that is served names their version."""

    def __init__(self) -> None:
        # By gateway, by version, the newest last.
        self._known: dict[str, dict[str, Gateway]] = {}

    def note(self, gateway: Gateway, still: Iterable[Snapshot | None]) -> None:
        """The gateway's Envoys are about to be told of this one; of the others only what is `still` served stays."""
        known = self._known.get(gateway.gateway, {})
        served = [snapshot for snapshot in still if snapshot is not None]
        stay = {
            version: one
            for version, one in known.items()
            if version != gateway.version and any(names(snapshot, version) for snapshot in served)
        }
        self._known[gateway.gateway] = {**stay, gateway.version: gateway}

    def forget(self, name: str) -> None:
        """The gateway has no Envoys any more."""
        self._known.pop(name, None)

    def of(self, name: str, snapshot: Snapshot) -> tuple[Gateway, ...]:
        """By which policies authorization is asked where this is served; the newest first."""
        known = reversed(self._known.get(name, {}).values())
        return tuple(one for one in known if names(snapshot, one.version))


def names(snapshot: Snapshot, version: str) -> bool:
    """Tables of routes tell authorization which policy they came from."""
    wanted = version.encode()
    return any(wanted in each.body for each in snapshot.resources.get(ROUTE, {}).values())
