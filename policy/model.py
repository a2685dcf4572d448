"""One gateway, as its owners write it: the root of a file in `envoy/gateways/`.

Everything that has a name is a map from that name, so that overlays (profiles) can change one entry and errors can
point at it. A file stands alone: a team that owns `marketing.yaml` needs nobody else's file to change it (R5).
"""

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated

import orjson
from pydantic import Field

from policy.access import AgentSignatures, Callers, Issuer, JsonSchema
from policy.audit import Audit
from policy.edge import Authority, Certificate, Listener, Services, Upstream
from policy.kinds import Action, LintExceptions, Method, Model, Name, Network, Text, Tier
from policy.limits import Limit
from policy.modes import Mode, Replay
from policy.problem import Problem
from policy.problems import problems
from policy.route import Access, Defaults, Match, Route
from policy.rules import Rule, RuleMode

__all__ = ["Access", "Credentials", "Defaults", "Gateway", "Match", "Route"]


class Credentials(StrEnum):
    """What happens to tokens, keys and signatures: kept for the next gateway, or stripped before the service."""

    FORWARD = "forward"
    STRIP = "strip"


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
    audit: Audit = Field(Audit.LOGGED, description="Whether every decision here must be a durable row of the audit.")
    mode: Mode = Field(Mode.ENFORCE, description="What becomes of refusals; anything else is for a while.")
    replay: Replay | None = Field(None, description="Keep some checks, for `apibank replay` to try a policy by.")
    schemas: Mapping[Name, JsonSchema] = Field(
        default_factory=dict, description="JSON Schemas (2020-12) of request bodies."
    )
    rules: Mapping[Name, Rule] = Field(
        default_factory=dict, description="Business rules by name; `defaults.rules` and a route's say where they hold."
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
        does = self.model_dump(mode="json", exclude_defaults=True)
        # What the linter is told changes nothing that runs.
        for part in (does, *does["routes"].values()):
            part.pop("lint_exceptions", None)
        canonical = orjson.dumps(does, option=orjson.OPT_SORT_KEYS)
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

    def rules_of(self, route: Route) -> tuple[str, ...]:
        return self.defaults.rules if route.rules is None else route.rules

    def rules_for(self, route: Route, method: Method) -> tuple[str, ...]:
        """The rules that hold for one method of a route, in their order; those in mode off hold nowhere."""
        return tuple(name for name in self.rules_of(route) if self._holds(self.rules[name], route, method))

    def schemas_under(self, rule: str) -> tuple[JsonSchema, ...]:
        """The schemas of the bodies that a rule judges, each once."""
        names = dict.fromkeys(
            schema
            for route in self.routes.values()
            if rule in self.rules_of(route)
            for method, schema in route.body.items()
            if self.rules[rule].methods is None or method in (self.rules[rule].methods or ())
        )
        return tuple(self.schemas[name] for name in names if name in self.schemas)

    def tiers_of(self, route: Route) -> tuple[Tier, ...]:
        return self.tiers if route.tiers is None else route.tiers

    def audit_of(self, route: Route) -> Audit:
        return self.audit if route.audit is None else route.audit

    def mode_of(self, route: Route) -> Mode:
        return self.mode if route.mode is None else route.mode

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

    @staticmethod
    def _holds(rule: Rule, route: Route, method: Method) -> bool:
        if rule.mode is RuleMode.OFF or (rule.methods is not None and method not in rule.methods):
            return False
        return method in route.body or not rule.reads_body

    def problems(self) -> list[Problem]:
        """What no single field shows: references that lead nowhere, and rules that contradict each other."""
        return problems(self)
