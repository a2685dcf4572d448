"""A route: a path, who may call it, and where it goes."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Final, Self

import orjson
from pydantic import Field, model_validator

from policy.access import Callers
from policy.audit import Audit
from policy.kinds import (
    Action,
    Count,
    LintExceptions,
    Method,
    Milliseconds,
    Model,
    Name,
    Path,
    ScopeNamespace,
    Text,
    Tier,
)
from policy.modes import Mode
from policy.traffic import Traffic

# Fields of a route that most routes do not have.
_TRAFFIC: Final = frozenset(Traffic.model_fields)


class Access(StrEnum):
    """Whether a route asks who is calling. `public` still checks networks, methods, bodies and limits."""

    CALLERS = "callers"
    PUBLIC = "public"


class Match(StrEnum):
    """`prefix`: the path and everything below it, by whole segments; `exact`: that path alone."""

    PREFIX = "prefix"
    EXACT = "exact"


class Route(Traffic):
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
    audit: Audit | None = Field(None, description="Instead of the gateway's `audit`.")
    mode: Mode | None = Field(None, description="Instead of the gateway's `mode`.")
    rules: tuple[Name, ...] | None = Field(None, description="Business rules instead of the defaults'; all must hold.")
    upstream: Name | None = Field(None, description="Where requests go; or `split`, or `redirect`.")
    timeout_ms: Milliseconds | None = None
    lint_exceptions: LintExceptions = Field(default_factory=dict, description="Warnings that are meant here, and why.")

    @model_validator(mode="after")
    def _leads_to_one_place(self) -> Self:
        # Looked up here, so that it is remembered before thousands of routes are compiled.
        if self.upstream is not None and self.traffic is None:
            return self
        if [self.upstream, self.split, self.redirect].count(None) != 2:
            raise ValueError("a route has one of upstream, split and redirect")
        if self.streaming is not None and self.timeout_ms is not None:
            raise ValueError("streaming and timeout_ms exclude each other: a stream has max_duration_ms")
        if self.redirect is not None and self.timeout_ms is not None:
            raise ValueError("redirect has no timeout_ms: nothing is sent to a service")
        if self.redirect is not None and self.limits:
            raise ValueError("redirect has no limits: Envoy does not count what it redirects")
        tries = self.retries and self.retries.per_try_timeout_ms
        if tries and self.timeout_ms and tries > self.timeout_ms:
            raise ValueError("per_try_timeout_ms is at most timeout_ms")
        return self

    @cached_property
    def traffic(self) -> str | None:
        """The traffic policies as canonical JSON, equal for equal policies; None where there is none."""
        if _TRAFFIC.isdisjoint(self.model_fields_set):
            return None
        given = self.model_dump(mode="json", include=set(_TRAFFIC), exclude_defaults=True)
        return orjson.dumps(given, option=orjson.OPT_SORT_KEYS).decode() if given else None

    def __copy__(self) -> Self:
        # A copy may get other fields (model_copy), and what was remembered is of these.
        copied = super().__copy__()
        copied.__dict__.pop("traffic", None)
        return copied

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Every upstream that it names: its own or those of its split, and those that get copies."""
        own = () if self.upstream is None else (self.upstream,)
        return (*own, *(self.split or ()), *(one.upstream for one in self.mirror))


class Defaults(Model):
    """What a route has where it says nothing."""

    methods: Annotated[Mapping[Method, Action], Field(min_length=1)]
    scopes: ScopeNamespace | None = None
    networks: tuple[Name, ...] = ()
    limits: tuple[Name, ...] = ()
    rules: tuple[Name, ...] = ()
    max_body_bytes: Count = 65_536
    timeout_ms: Milliseconds = 15_000
