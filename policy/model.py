"""One gateway, as its owners write it: the root of a file in `envoy/gateways/`.

Everything that has a name is a map from that name, so that overlays (profiles) can change one entry and errors can
point at it. A file stands alone: a team that owns `marketing.yaml` needs nobody else's file to change it (R5).
"""

import hashlib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import jsonschema_rs
import orjson
from pydantic import Field

from policy.access import AgentSignatures, Callers, Issuer, JsonSchema
from policy.edge import Authority, Certificate, Listener, Services, Upstream
from policy.kinds import (
    Action,
    Count,
    LintExceptions,
    Method,
    Milliseconds,
    Model,
    Name,
    Network,
    Path,
    ScopeNamespace,
    Text,
    Tier,
)
from policy.limits import Limit
from policy.problem import Problem


class Access(StrEnum):
    """Whether a route asks who is calling. `public` still checks networks, methods, bodies and limits."""

    CALLERS = "callers"
    PUBLIC = "public"


class Match(StrEnum):
    """`prefix`: the path and everything below it, by whole segments; `exact`: that path alone."""

    PREFIX = "prefix"
    EXACT = "exact"


class Credentials(StrEnum):
    """What happens to tokens, keys and signatures: kept for the next gateway, or stripped before the service."""

    FORWARD = "forward"
    STRIP = "strip"


class Route(Model):
    """A path, who may call it, and where it goes. Unset fields take the gateway's `defaults`."""

    description: Text | None = None
    path: Path
    match: Match = Match.PREFIX
    listeners: tuple[Name, ...] | None = Field(None, description="Where it is served; unset: every listener.")
    access: Access = Access.CALLERS
    callers: Callers | None = Field(None, description="Instead of the gateway's `callers`.")
    methods: Mapping[Method, Action] | None = Field(None, description="Admitted methods; all others are 405.")
    scopes: ScopeNamespace | None = Field(None, description="Demand NAMESPACE:read or NAMESPACE:write, by method.")
    tiers: tuple[Tier, ...] | None = Field(None, description="Instead of the gateway's `tiers`.")
    networks: tuple[Name, ...] | None = Field(None, description="Allow-lists for the client's address.")
    body: Mapping[Method, Name] = Field(default_factory=dict, description="Method -> schema that its body must meet.")
    max_body_bytes: Count | None = Field(None, description="A longer body is 413, checked or not.")
    limits: tuple[Name, ...] | None = Field(None, description="Limits that count here; all must admit.")
    upstream: Name
    timeout_ms: Milliseconds | None = None
    lint_exceptions: LintExceptions = Field(default_factory=dict, description="Warnings that are meant here, and why.")


class Defaults(Model):
    """What a route has where it says nothing."""

    methods: Annotated[Mapping[Method, Action], Field(min_length=1)]
    scopes: ScopeNamespace | None = None
    networks: tuple[Name, ...] = ()
    limits: tuple[Name, ...] = ()
    max_body_bytes: Count = 65_536
    timeout_ms: Milliseconds = 15_000


class Gateway(Model):
    """One gateway: a unit of failure, of scale and of ownership."""

    gateway: Name
    description: Text
    owners: Annotated[tuple[Text, ...], Field(min_length=1, description="Who answers for this file.")]
    networks: Mapping[Name, tuple[Network, ...]] = Field(
        default_factory=dict, description="Allow-lists by name; an empty one admits nobody."
    )
    issuers: Mapping[Name, Issuer] = Field(default_factory=dict, description="Token issuers known here.")
    callers: Callers
    tiers: Annotated[tuple[Tier, ...], Field(min_length=1, description="Tiers that are admitted; others get 403.")]
    agents: AgentSignatures | None = None
    credentials: Credentials = Credentials.STRIP
    schemas: Mapping[Name, JsonSchema] = Field(
        default_factory=dict, description="JSON Schemas (2020-12) of request bodies."
    )
    limits: Mapping[Name, Limit] = Field(default_factory=dict)
    certificates: Mapping[Name, Certificate] = Field(default_factory=dict)
    authorities: Mapping[Name, Authority] = Field(default_factory=dict)
    services: Services
    upstreams: Annotated[Mapping[Name, Upstream], Field(min_length=1)]
    listeners: Annotated[Mapping[Name, Listener], Field(min_length=1)]
    defaults: Defaults
    routes: Annotated[Mapping[Name, Route], Field(min_length=1)]
    lint_exceptions: LintExceptions = Field(
        default_factory=dict, description="Warnings of the linter that are meant everywhere in this file, and why."
    )

    @cached_property
    def version(self) -> str:
        """Digest of everything that this gateway does, overlays included: equal policies have equal versions."""
        # Route order and key order carry no meaning, so the canonical form sorts them.
        # Defaults are left out, so that a field that is new to the model changes the version of no policy without it.
        canonical = orjson.dumps(self.model_dump(mode="json", exclude_defaults=True), option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()[:16]

    def methods_of(self, route: Route) -> Mapping[Method, Action]:
        return self.defaults.methods if route.methods is None else route.methods

    def scopes_of(self, route: Route) -> str | None:
        """The scope namespace demanded; public routes demand none."""
        if route.access is Access.PUBLIC:
            return None
        return self.defaults.scopes if route.scopes is None else route.scopes

    def networks_of(self, route: Route) -> tuple[str, ...]:
        return self.defaults.networks if route.networks is None else route.networks

    def limits_of(self, route: Route) -> tuple[str, ...]:
        return self.defaults.limits if route.limits is None else route.limits

    def tiers_of(self, route: Route) -> tuple[Tier, ...]:
        return self.tiers if route.tiers is None else route.tiers

    def callers_of(self, route: Route) -> Callers:
        return self.callers if route.callers is None else route.callers

    def listeners_of(self, route: Route) -> tuple[str, ...]:
        """The listeners that serve a route; those that only redirect serve none."""
        serving = tuple(name for name, one in self.listeners.items() if one.redirect_to_https_port is None)
        return serving if route.listeners is None else route.listeners

    def max_body_of(self, route: Route) -> int:
        return route.max_body_bytes or self.defaults.max_body_bytes

    def timeout_ms_of(self, route: Route) -> int:
        return route.timeout_ms or self.defaults.timeout_ms

    def checks_body(self, route: Route) -> bool:
        """Whether authz must see the body: for a schema, or for the digest of a signature (RFC 9530)."""
        return bool(route.body) or (route.access is Access.CALLERS and self.callers_of(route).agents)

    def problems(self) -> list[Problem]:
        """What no single field shows: references that lead nowhere, and rules that contradict each other."""
        return [*_reference_problems(self), *_rule_problems(self), *_schema_problems(self)]


# Where a name is used, what kind of thing it names, the name, and those that there are.
_Reference = tuple[tuple[str | int, ...], str, str, Mapping[str, object]]


def _unknown(path: tuple[str | int, ...], kind: str, name: str, known: Mapping[str, object]) -> Problem:
    return Problem(
        path, f"there is no {kind} named {name!r}", "one of: " + (", ".join(sorted(known)) or "(none is defined)")
    )


def _references(gateway: Gateway) -> Iterator[_Reference]:
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
    for name, route in gateway.routes.items():
        yield from _route_references(gateway, name, route)


def _listener_references(gateway: Gateway, name: str, listener: Listener) -> Iterator[_Reference]:
    at: tuple[str | int, ...] = ("listeners", name)
    for index, network in enumerate(listener.networks):
        yield (*at, "networks", index), "network", network, gateway.networks
    if listener.acme_challenge is not None:
        yield (*at, "acme_challenge"), "upstream", listener.acme_challenge, gateway.upstreams
    if listener.tls is not None:
        yield (*at, "tls", "certificate"), "certificate", listener.tls.certificate, gateway.certificates
        if listener.tls.client_authority is not None:
            yield (*at, "tls", "client_authority"), "authority", listener.tls.client_authority, gateway.authorities


def _route_references(gateway: Gateway, name: str, route: Route) -> Iterator[_Reference]:
    at: tuple[str | int, ...] = ("routes", name)
    yield (*at, "upstream"), "upstream", route.upstream, gateway.upstreams
    for index, listener in enumerate(route.listeners or ()):
        yield (*at, "listeners", index), "listener", listener, gateway.listeners
    for index, network in enumerate(route.networks or ()):
        yield (*at, "networks", index), "network", network, gateway.networks
    for index, limit in enumerate(route.limits or ()):
        yield (*at, "limits", index), "limit", limit, gateway.limits
    for method, schema in route.body.items():
        yield (*at, "body", method.value), "schema", schema, gateway.schemas
    for issuer in route.callers.tokens if route.callers else ():
        yield (*at, "callers", "tokens", issuer), "issuer", issuer, gateway.issuers


def _reference_problems(gateway: Gateway) -> Iterator[Problem]:
    for path, kind, name, known in _references(gateway):
        if name not in known:
            yield _unknown(path, kind, name, known)


def _rule_problems(gateway: Gateway) -> Iterator[Problem]:
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
        for method in route.body:
            if method not in gateway.methods_of(route):
                yield Problem((*at, "body", method.value), f"{method} is not admitted here", "a method of the route")


def _caller_problems(gateway: Gateway, at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
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


def _limit_problems(gateway: Gateway, at: tuple[str | int, ...], route: Route) -> Iterator[Problem]:
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


def _schema_problems(gateway: Gateway) -> Iterator[Problem]:
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
