"""What is wrong with a gateway's file that no single field shows: names that lead nowhere, and contradictions."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import jsonschema_rs

from policy.access import JsonSchema
from policy.edge import Listener, Protocol
from policy.kinds import Method
from policy.problem import Problem
from policy.route import Access, Match, Route
from policy.rule_problems import rule_problems

if TYPE_CHECKING:
    from policy.model import Gateway


def problems(gateway: "Gateway") -> list[Problem]:
    """Everything that contradicts itself, each at its place."""
    return [
        *_reference_problems(gateway),
        *_rule_problems(gateway),
        *_schema_problems(gateway),
        *rule_problems(gateway),
    ]


# Where a name is used, what kind of thing it names, the name, and those that there are.
_Reference = tuple[tuple[str | int, ...], str, str, Mapping[str, object]]


def _unknown(path: tuple[str | int, ...], kind: str, name: str, known: Mapping[str, object]) -> Problem:
    return Problem(
        path, f"there is no {kind} named {name!r}", "one of: " + (", ".join(sorted(known)) or "(none is defined)")
    )


def _references(gateway: "Gateway") -> Iterator[_Reference]:
    for name, listener in gateway.listeners.items():
        yield from _listener_references(gateway, name, listener)
    for name, upstream in gateway.upstreams.items():
        if upstream.tls is not None:
            at: tuple[str | int, ...] = ("upstreams", name, "tls")
            yield (*at, "authority"), "authority", upstream.tls.authority, gateway.authorities
            if upstream.tls.certificate is not None:
                yield (*at, "certificate"), "certificate", upstream.tls.certificate, gateway.certificates
    for issuer in gateway.callers.tokens:
        yield ("callers", "tokens", issuer), "issuer", issuer, gateway.issuers
    for index, limit in enumerate(gateway.defaults.limits):
        yield ("defaults", "limits", index), "limit", limit, gateway.limits
    for index, network in enumerate(gateway.defaults.networks):
        yield ("defaults", "networks", index), "network", network, gateway.networks
    for index, rule in enumerate(gateway.defaults.rules):
        yield ("defaults", "rules", index), "rule", rule, gateway.rules
    for name, route in gateway.routes.items():
        yield from _route_references(gateway, name, route)


def _listener_references(gateway: "Gateway", name: str, listener: Listener) -> Iterator[_Reference]:
    at: tuple[str | int, ...] = ("listeners", name)
    for index, network in enumerate(listener.networks):
        yield (*at, "networks", index), "network", network, gateway.networks
    if listener.acme_challenge is not None:
        yield (*at, "acme_challenge"), "upstream", listener.acme_challenge, gateway.upstreams
    if listener.tls is not None:
        yield (*at, "tls", "certificate"), "certificate", listener.tls.certificate, gateway.certificates
        if listener.tls.client_authority is not None:
            yield (*at, "tls", "client_authority"), "authority", listener.tls.client_authority, gateway.authorities


def _route_references(gateway: "Gateway", name: str, route: Route) -> Iterator[_Reference]:
    at: tuple[str | int, ...] = ("routes", name)
    if route.upstream is not None:
        yield (*at, "upstream"), "upstream", route.upstream, gateway.upstreams
    for upstream in route.split or ():
        yield (*at, "split", upstream), "upstream", upstream, gateway.upstreams
    for index, mirror in enumerate(route.mirror):
        yield (*at, "mirror", index, "upstream"), "upstream", mirror.upstream, gateway.upstreams
    for index, listener in enumerate(route.listeners or ()):
        yield (*at, "listeners", index), "listener", listener, gateway.listeners
    for index, network in enumerate(route.networks or ()):
        yield (*at, "networks", index), "network", network, gateway.networks
    for index, limit in enumerate(route.limits or ()):
        yield (*at, "limits", index), "limit", limit, gateway.limits
    for index, rule in enumerate(route.rules or ()):
        yield (*at, "rules", index), "rule", rule, gateway.rules
    for method, schema in route.body.items():
        yield (*at, "body", method.value), "schema", schema, gateway.schemas
    for issuer in route.callers.tokens if route.callers else ():
        yield (*at, "callers", "tokens", issuer), "issuer", issuer, gateway.issuers


def _reference_problems(gateway: "Gateway") -> Iterator[Problem]:
    for path, kind, name, known in _references(gateway):
        if name not in known:
            yield _unknown(path, kind, name, known)


def _rule_problems(gateway: "Gateway") -> Iterator[Problem]:
    claimed: dict[tuple[str, str, Match], str] = {}
    for name, route in gateway.routes.items():
        at: tuple[str | int, ...] = ("routes", name)
        for listener in gateway.listeners_of(route):
            other = claimed.setdefault((listener, route.path, route.match), name)
            if other != name:
                yield Problem((*at, "path"), f"route {other!r} already serves it on {listener!r}", "a path of its own")
            known = gateway.listeners.get(listener)
            if known is not None and known.redirect_to_https_port is not None:
                yield Problem((*at, "listeners"), f"listener {listener!r} only redirects", "a listener that serves")
        yield from _caller_problems(gateway, at, route)
        yield from _limit_problems(gateway, at, route)
        yield from _traffic_problems(gateway, at, route)
        for method in route.body:
            if method not in gateway.methods_of(route):
                yield Problem((*at, "body", method.value), f"{method} is not admitted here", "a method of the route")


def _caller_problems(gateway: "Gateway", at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
    if route.access is Access.PUBLIC:
        for field in ("callers", "scopes", "tiers"):
            if getattr(route, field) is not None:
                yield Problem(
                    (*at, field), "a public route asks nobody who they are", f"no {field}, or access: callers"
                )
        return
    callers = gateway.callers_of(route)
    where = (*at, "callers") if route.callers is not None else ("callers",)
    if not (callers.tokens or callers.partners or callers.agents):
        yield Problem(where, "nobody is admitted", "tokens, partners or agents; or access: public on the route")
    if callers.agents and gateway.agents is None:
        yield Problem((*where, "agents"), "nothing says how agents sign", "a section `agents` in this file")


def _limit_problems(gateway: "Gateway", at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
    where = (*at, "limits") if route.limits is not None else ("defaults", "limits")
    for name in gateway.limits_of(route):
        limit = gateway.limits.get(name)
        if limit is None:
            continue
        if route.access is Access.PUBLIC and limit.per.value == "caller":
            yield Problem(
                where, f"limit {name!r} counts per caller, and {at[1]!r} is public", "per: address or gateway"
            )
        if limit.tiers is not None and route.access is Access.CALLERS:
            for tier in gateway.tiers_of(route):
                if tier not in limit.tiers:
                    yield Problem(
                        ("limits", name, "tiers"),
                        f"no figure for tier {tier.value!r}, admitted by route {at[1]!r}",
                        "a number, unlimited, or the tier that it counts as",
                    )


def _traffic_problems(gateway: "Gateway", at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
    if route.retries is not None:
        longest, whole = route.retries.per_try_timeout_ms, gateway.timeout_ms_of(route)
        if longest is not None and longest > whole:
            yield Problem(
                (*at, "retries", "per_try_timeout_ms"), f"the route waits {whole} ms in all", f"at most {whole}"
            )
        for method in route.retries.methods or ():
            if method not in gateway.methods_of(route):
                yield Problem((*at, "retries", "methods"), f"{method} is not admitted here", "a method of the route")
    if route.upgrades:
        yield from _upgrade_problems(gateway, (*at, "upgrades"), route)


def _upgrade_problems(gateway: "Gateway", at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
    if gateway.checks_body(route):
        yield Problem(
            at, "what follows an upgrade has no end, and this route's bodies are checked", "no body, no agents"
        )
    if Method.GET not in gateway.methods_of(route):
        yield Problem(at, "GET is not admitted here", "GET among the methods of the route")
    for name in route.upstreams:
        upstream = gateway.upstreams.get(name)
        if upstream is not None and upstream.protocol is not Protocol.HTTP1:
            yield Problem(at, f"upstream {name!r} does not speak HTTP/1.1", "protocol: http1")


def _schema_problems(gateway: "Gateway") -> Iterator[Problem]:
    for name, schema in gateway.schemas.items():
        try:
            # As authz compiles it, so that what loads can be enforced: no unknown formats, nothing fetched.
            jsonschema_rs.Draft202012Validator(
                dict(schema), validate_formats=True, ignore_unknown_formats=False, offline=True
            )
        except (ValueError, jsonschema_rs.ValidationError) as error:
            yield Problem(("schemas", name), f"not a JSON Schema: {str(error).splitlines()[0]}", "JSON Schema 2020-12")
            continue
        yield from _impossible_fields(("schemas", name), schema)


def _impossible_fields(at: tuple[str | int, ...], schema: JsonSchema) -> Iterator[Problem]:
    """Fields that are required and not admitted: a misspelt name makes a schema that no body meets."""
    properties, required = schema.get("properties"), schema.get("required")
    if schema.get("additionalProperties") is not False or not isinstance(properties, Mapping):
        return
    for field in required if isinstance(required, list) else ():
        if field not in properties:
            expected = "one of: " + ", ".join(map(str, properties))
            yield Problem((*at, "required"), f"{field!r} is required, and no property has that name", expected)
