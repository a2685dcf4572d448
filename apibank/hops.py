"""What one gateway does with a request by its policy, as a record: route, rules, figures, and where it leads."""

from collections.abc import Mapping
from typing import cast

from policy.edge import Cors
from policy.load import Loaded
from policy.model import Gateway
from policy.positions import Positions
from policy.problem import FieldPath
from policy.route import Access, Route
from policy.route import Match as Matching
from policy.routing import Match, forwarded, redirected, serves, tried

Record = dict[str, object]
# The ones whose absence from a path is worth telling.
_CANDIDATES = 3
_PLAIN_TRAFFIC = ("retries", "streaming", "mirror", "fault", "local_limit", "cors", "headers")


def place(positions: Positions, *path: str) -> Record:
    """File and line of a part of the policy."""
    at = positions.nearest(cast(FieldPath, path))
    return {"file": at.file, "line": at.line}


def routed(loaded: Loaded[Gateway], listener: str, found: Match, method: str) -> Record:
    """Everything that holds for a request of this method on its route."""
    gateway, route = loaded.gateway, loaded.gateway.routes[found.route]
    action = next((one for name, one in gateway.methods_of(route).items() if name == method), None)
    scopes = gateway.scopes_of(route)
    door = gateway.listeners[listener]
    networks = {"listener": door.networks, "route": gateway.networks_of(route)}
    schema = next((name for asked, name in route.body.items() if asked == method), None)
    return {
        "route": {
            "name": found.route,
            **place(loaded.positions, "routes", found.route),
            "description": route.description,
            "path": route.path,
            "match": route.match.value,
            "why": _why(route, found),
        },
        "method": {
            "admitted": action is not None,
            "action": None if action is None else action.value,
            "allowed": [name.value for name in gateway.methods_of(route)],
        },
        "access": route.access.value,
        "mode": gateway.mode_of(route).value,
        "scope": None if scopes is None or action is None else f"{scopes}:{action.value}",
        "tiers": [] if route.access is Access.PUBLIC else [tier.value for tier in gateway.tiers_of(route)],
        # Of each of the two, one of the lists must hold the client's address.
        "networks": {of: {name: list(gateway.networks[name]) for name in names} for of, names in networks.items()},
        "rules": [_rule(loaded, name) for name in _rules_for(gateway, route, method)],
        "limits": [_limit(loaded, name) for name in gateway.limits_of(route)],
        "body": {"schema": schema, "max_bytes": gateway.max_body_of(route)},
        "timeouts": _timeouts(gateway, route),
        "traffic": _traffic(route, found.path, door.cors),
        "upstreams": _upstreams(loaded, route),
        "forwarded_path": forwarded(route, found.path),
    }


def nearest(loaded: Loaded[Gateway], listener: str, path: str) -> list[Record]:
    """The routes that come nearest to a path that has none here, and why each is not its route."""
    gateway = loaded.gateway
    here = {name for name, _ in tried(gateway, listener)}
    shared = {name: _shared(route.path, path) for name, route in gateway.routes.items()}
    most = max(shared.values(), default=0)
    ranked = sorted(gateway.routes.items(), key=lambda item: (not serves(item[1], path), item[0]))
    near = [(name, route) for name, route in ranked if serves(route, path) or shared[name] == most > 0]
    return [
        {
            "route": name,
            "path": route.path,
            **place(loaded.positions, "routes", name),
            "why_not": _why_not(gateway, route, path, served_here=name in here, listener=listener),
        }
        for name, route in near[:_CANDIDATES]
    ]


def _why(route: Route, found: Match) -> str:
    reason = "this exact path" if route.match is Matching.EXACT else "the longest prefix of the path"
    if route.match is Matching.PREFIX and found.whole:
        reason = "its prefix is this path"
    return reason + (f", tried before {', '.join(found.others)}" if found.others else "")


def _why_not(gateway: Gateway, route: Route, path: str, *, served_here: bool, listener: str) -> str:
    if serves(route, path):
        return f"served on {', '.join(gateway.listeners_of(route)) or 'no listener'}, not on {listener}"
    elsewhere = "" if served_here else f", and served on {', '.join(gateway.listeners_of(route))}"
    if route.path.lower() == path.lower() or path.lower().startswith(route.path.lower() + "/"):
        return (
            "exact: only this path, nothing below it" + elsewhere if route.path in path else "case differs" + elsewhere
        )
    if path.startswith(route.path):
        return f"{route.path} takes whole segments" + elsewhere
    return f"the path does not begin with {route.path}" + elsewhere


def _shared(one: str, other: str) -> int:
    """How many segments two paths have in common at their beginnings; a part of a segment counts as half of one."""
    count = 0
    for mine, theirs in zip(one.lower().split("/")[1:], other.lower().split("/")[1:], strict=False):
        if mine != theirs:
            return 2 * count + (mine[:3] == theirs[:3] != "")
        count += 1
    return 2 * count


def _rules_for(gateway: Gateway, route: Route, method: str) -> tuple[str, ...]:
    return next((gateway.rules_for(route, one) for one in gateway.methods_of(route) if one == method), ())


def _rule(loaded: Loaded[Gateway], name: str) -> Record:
    rule = loaded.gateway.rules[name]
    return {"name": name, **place(loaded.positions, "rules", name), "type": rule.type, "mode": rule.mode.value}


def _limit(loaded: Loaded[Gateway], name: str) -> Record:
    limit = loaded.gateway.limits[name]
    figures = None if limit.tiers is None else {tier.value: limit.figure(tier) or "unlimited" for tier in limit.tiers}
    return {
        "name": name,
        **place(loaded.positions, "limits", name),
        "per": limit.per.value,
        "unit": limit.unit.value,
        "requests": limit.requests,
        "tiers": figures,
        "tenants": len(limit.tenants),
        "partners": len(limit.partners),
        "burst": None if limit.burst is None else {"rate": limit.burst.rate, "seconds": limit.burst.seconds},
        "algorithm": limit.counting.value,
        "shadow": limit.shadow,
    }


def _timeouts(gateway: Gateway, route: Route) -> Record:
    if route.streaming is not None:
        return {
            "idle_ms": route.streaming.idle_timeout_ms,
            "longest_ms": route.streaming.max_duration_ms,
        }
    given: Record = {"whole_ms": gateway.timeout_ms_of(route)}
    return given if route.idle_timeout_ms is None else {**given, "idle_ms": route.idle_timeout_ms}


def _traffic(route: Route, path: str, cors_of_listener: Cors | None) -> Record:
    """The traffic policies that are in force, each as the file has it; and what comes of those that change a path."""
    written = route.model_dump(mode="json", exclude_defaults=True)
    said: Record = {name: written[name] for name in _PLAIN_TRAFFIC if name in written}
    if route.cors is None and cors_of_listener is not None:
        said["cors"] = cors_of_listener.model_dump(mode="json", exclude_defaults=True)
    if route.upgrades:
        said["upgrades"] = [one.value for one in route.upgrades]
    if route.split is not None:
        said["split"] = dict(route.split)
    if (to := route.redirect) is not None:
        said["redirect"] = {
            "status": to.status.value,
            "scheme": "https" if to.https else None,
            "host": to.host,
            "port": to.port,
            "path": redirected(route, to, path),
            "query": "dropped" if to.strip_query else "kept",
        }
    if route.rewrite is not None:
        said["rewrite"] = {**written["rewrite"], "result": forwarded(route, path)}
    if route.maintenance is not None:
        said["maintenance"] = route.maintenance.model_dump(mode="json")
    if route.deprecation is not None:
        said["deprecation"] = route.deprecation.model_dump(mode="json", exclude_none=True)
    return said


def _upstreams(loaded: Loaded[Gateway], route: Route) -> list[Record]:
    """Where requests go, copies apart; of a split with its weights."""
    weights: Mapping[str, int | None] = route.split or ({} if route.upstream is None else {route.upstream: None})
    return [
        {
            "name": name,
            **place(loaded.positions, "upstreams", name),
            "endpoints": list(loaded.gateway.upstreams[name].endpoints),
            **({} if weight is None else {"weight": weight}),
        }
        for name, weight in weights.items()
    ]
