"""A request's way through the federation as the policies say: from a listener to the service, gateway by gateway."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from apibank.hops import Record, nearest, place, routed
from policy.load import Loaded
from policy.model import Gateway
from policy.modes import Mode
from policy.routing import Challenge, Match, NoRoute, matched

_IDENTITY: Final = re.compile(r"spiffe://[a-z0-9.-]+/gateway/([a-z][a-z0-9_-]*)")

Policies = Mapping[str, Loaded[Gateway]]


class CannotExplainError(Exception):
    """There is no such gateway or listener; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The gateways on the way, and what the last of them does. `status`: of the answer that routing gives, or None."""

    method: str
    path: str
    hops: tuple[Record, ...]
    status: int | None
    detail: str
    refused: bool

    def as_record(self) -> Record:
        """The same for programs."""
        return {
            "method": self.method,
            "path": self.path,
            "refused": self.refused,
            "status": self.status,
            "detail": self.detail,
            "hops": list(self.hops),
        }


@dataclass(slots=True)
class _Way:
    hops: list[Record] = field(default_factory=list)
    status: int | None = None
    detail: str = ""
    refused: bool = False

    def ends(self, status: int | None, detail: str, *, refused: bool) -> None:
        self.status, self.detail, self.refused = status, detail, refused


def explained(policies: Policies, method: str, path: str, gateway: str, listener: str | None = None) -> Explanation:
    """From a gateway on. Without a listener, the first that has a route for the path. Raises CannotExplainError."""
    if gateway not in policies:
        raise CannotExplainError(f"there is no gateway {gateway!r}; there are: {', '.join(policies)}")
    way, asked = _Way(), path
    here: tuple[str, str] | None = (gateway, listener or _door(policies[gateway].gateway, path))
    seen: set[str] = set()
    while here is not None:
        if here[0] in seen:
            way.ends(None, f"the way leads back to {here[0]}", refused=True)
            break
        seen.add(here[0])
        here, asked = _hop(policies, *here, method, asked, way)
    return Explanation(method, path, tuple(way.hops), way.status, way.detail, way.refused)


def _door(gateway: Gateway, path: str) -> str:
    """The first listener that has a route; else the first that serves anything."""
    serving = [name for name, one in gateway.listeners.items() if one.redirect_to_https_port is None]
    with_route = [name for name in serving if isinstance(matched(gateway, name, path), Match)]
    return next(iter((*with_route, *serving, *gateway.listeners)))


def _hop(
    policies: Policies, name: str, listener: str, method: str, path: str, way: _Way
) -> tuple[tuple[str, str] | None, str]:
    """Adds what one gateway does; gives the next gateway with its listener, if there is one, and the path for it."""
    loaded = policies[name]
    if listener not in loaded.gateway.listeners:
        known = ", ".join(loaded.gateway.listeners)
        raise CannotExplainError(f"{name} has no listener {listener!r}; it has: {known}")
    found = matched(loaded.gateway, listener, path)
    door = loaded.gateway.listeners[listener]
    hop: Record = {
        "gateway": name,
        "version": loaded.gateway.version,
        "listener": {"name": listener, **place(loaded.positions, "listeners", listener), "address": door.address},
        "asked": path,
        "path": found.path,
    }
    way.hops.append(hop)
    if isinstance(found, Challenge):
        way.ends(None, f"an ACME challenge, which goes to {found.upstream}", refused=False)
        return None, path
    if isinstance(found, NoRoute):
        hop["nearest"] = nearest(loaded, listener, found.path) if found.status == 404 else []
        way.ends(found.status, found.detail, refused=found.status >= 400)
        return None, path
    hop.update(routed(loaded, listener, found, method))
    if _answered(loaded.gateway, found, method, way):
        return None, path
    return _onward(policies, name, found, hop, way), _with_query(str(hop["forwarded_path"]), path)


def _answered(gateway: Gateway, found: Match, method: str, way: _Way) -> bool:
    """Whether the gateway answers by itself; in the order in which Envoy and authorization look."""
    route = gateway.routes[found.route]
    if route.deprecation is not None and route.deprecation.removed:
        way.ends(410, "this is no longer served", refused=True)
    elif route.maintenance is not None:
        way.ends(503, f"maintenance: {route.maintenance.message}", refused=True)
    elif method not in gateway.methods_of(route) and gateway.mode_of(route) in {Mode.OPTIONAL, Mode.ENFORCE}:
        admitted = ", ".join(one.value for one in gateway.methods_of(route))
        way.ends(405, f"{method} is not admitted; {admitted} {'are' if ',' in admitted else 'is'}", refused=True)
    elif route.redirect is not None:
        way.ends(route.redirect.status.value, "a redirect", refused=False)
    else:
        return False
    return True


def _onward(policies: Policies, name: str, found: Match, hop: Record, way: _Way) -> tuple[str, str] | None:
    """The gateway behind this one; of a split, the way with the most weight."""
    gateway = policies[name].gateway
    route = gateway.routes[found.route]
    split = dict(route.split or {})
    upstream = route.upstream or max(split, key=lambda one: split[one])
    hop["follows"] = upstream
    behind = _gateway_behind(gateway, upstream)
    if behind is None:
        way.ends(None, f"goes to {upstream}", refused=False)
        return None
    hop["next"] = behind
    if behind not in policies:
        way.ends(None, f"goes to the gateway {behind}, whose policy is not here", refused=False)
        return None
    door = _door_for(policies[behind].gateway, name, gateway.upstreams[upstream].endpoints)
    if door is None:
        way.ends(None, f"no listener of {behind} admits the certificate of {name}", refused=True)
        return None
    return behind, door


def _gateway_behind(gateway: Gateway, upstream: str) -> str | None:
    """Who must answer there: the identity that this gateway demands of the upstream's certificate."""
    tls = gateway.upstreams[upstream].tls
    identities = () if tls is None else gateway.authorities[tls.authority].identities
    return next((match[1] for one in identities if (match := _IDENTITY.fullmatch(one))), None)


def _door_for(gateway: Gateway, caller: str, endpoints: tuple[str, ...]) -> str | None:
    """The listener that admits the calling gateway's certificate; of several, the one on the port that is called."""
    doors = []
    for name, one in gateway.listeners.items():
        authority = None if one.tls is None else one.tls.client_authority
        identities = () if authority is None else gateway.authorities[authority].identities
        if any((match := _IDENTITY.fullmatch(identity)) and match[1] == caller for identity in identities):
            doors.append(name)
    ports = {endpoint.rpartition(":")[2] for endpoint in endpoints}
    return next(
        (one for one in doors if gateway.listeners[one].address.rpartition(":")[2] in ports),
        doors[0] if doors else None,
    )


def _with_query(path: str, asked: str) -> str:
    separator, query = asked.partition("?")[1:]
    return path + separator + query
