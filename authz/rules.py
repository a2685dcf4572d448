"""One gateway's policy as the checks want it: every look-up made and every schema compiled when it is installed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from authz.addresses import AllowList
from authz.body_schema import BodySchema
from authz.checks.rules.compiled import CompiledRule, claims_of, compile_rule
from authz.identity.break_glass import TOKEN_TYPE
from authz.identity.claims import IssuerRules
from authz.identity.hmac_signature import SignatureRules
from authz.identity.keys import source_of
from authz.identity.verified_tokens import VerifiedTokens
from authz.request import MAX_BODY_BYTES
from policy.access import Callers
from policy.audit import Audit
from policy.edge import FailedCredentials
from policy.judged_by import judged_by
from policy.kinds import Tier
from policy.limit_shapes import LimitShape, answered_by_check
from policy.model import Access, Credentials, Gateway, Match, Route
from policy.modes import Mode, Replay
from policy.rules import ExpressionRule

KNOWN_TIERS: Final = frozenset(tier.value for tier in Tier)


class PolicyUnusableError(Exception):
    """A policy that passed its own checks cannot be enforced here; the one before it stays in force."""


@dataclass(frozen=True, slots=True)
class CallerRules:
    """Who is admitted: roles by the policy's name of the issuer, and whether partners and agents are."""

    roles: Mapping[str, frozenset[str]]
    partners: bool
    agents: bool
    refusal: str


@dataclass(frozen=True, slots=True)
class MethodRules:
    """What one method of a route needs. `scope` is the one to name when it is missing, `scopes` all that do."""

    action: str
    scope: str
    scopes: frozenset[str]
    schema: BodySchema | None
    rules: tuple[CompiledRule, ...] = ()
    # Where checks are kept to be replayed: the digest of what judges their bodies.
    judged_by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RouteRules:
    """Everything that decides one route's requests. `networks` None admits any address."""

    gateway: str
    name: str
    path: str
    exact: bool
    public: bool
    listeners: frozenset[str]
    networks: AllowList | None
    callers: CallerRules
    methods: Mapping[str, MethodRules]
    allow: str
    namespace: str
    tiers: frozenset[str]
    checks_body: bool
    max_body: int
    sender_field: str | None
    strips_credentials: bool
    audit_required: bool
    mode: Mode
    # Of those that are admitted.
    lowest_tier: str
    # The share of checks that is kept to be replayed.
    sampled: float
    # What a Check charges; none where Envoy asks the rate-limit service.
    limits: tuple[LimitShape, ...] = ()

    def serves(self, path: str) -> bool:
        """Whether this is the route of a path (the second opinion on what Envoy's route table said)."""
        if path == self.path:
            return True
        return not self.exact and (self.path == "/" or path.startswith(self.path + "/"))


@dataclass(frozen=True, slots=True)
class FailureRules:
    """How many credentials of one address may fail in a minute, and whose are not counted."""

    per_minute: int
    exempt: AllowList


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """One version of one gateway's policy. `listeners`: allow-list of everything on it, None for any address."""

    gateway: str
    version: str
    listeners: Mapping[str, AllowList | None]
    routes: Mapping[str, RouteRules]
    issuers: Mapping[str, IssuerRules]
    signatures: SignatureRules | None
    failures: FailureRules
    # Of requests that no route is known for; a route says it itself.
    audit_required: bool
    replay: Replay | None
    # A memory, not a rule: it stands here because a verified token is verified under one version of the policy.
    verified: VerifiedTokens


def compile_rules(
    gateway: Gateway, verified: VerifiedTokens | None = None, former: tuple[Gateway, Rules] | None = None
) -> Rules:
    """Rules of a validated policy. Raises PolicyUnusableError; nothing of the result changes afterwards.

    `former`: a policy and its rules, of which the routes stay that are the same here: most changes are of one route.
    """
    declared = frozenset[str]().union(*(claims_of(rule) for rule in gateway.rules.values()))
    issuers: dict[str, IssuerRules] = {}
    for name, issuer in gateway.issuers.items():
        if issuer.issuer in issuers:
            raise PolicyUnusableError(f"issuers {issuers[issuer.issuer].name!r} and {name!r} have the same iss")
        issuers[issuer.issuer] = IssuerRules(
            name=name,
            keys=source_of(name, issuer),
            issuer=issuer.issuer,
            audience=issuer.audience,
            algorithm=issuer.algorithm.value,
            token_type=TOKEN_TYPE if issuer.break_glass else issuer.token_type,
            max_lifetime=issuer.max_lifetime_seconds,
            leeway=issuer.leeway_seconds,
            declared=declared,
            break_glass=issuer.break_glass,
        )
    schemas = _compile_schemas(gateway)
    business = _compile_business(gateway)
    known = _same_routes(gateway, *former) if former is not None else {}
    agents = gateway.agents
    return Rules(
        gateway=gateway.gateway,
        version=gateway.version,
        listeners={name: _allow_list(gateway, each.networks) for name, each in gateway.listeners.items()},
        routes={
            name: known.get(name) or _compile_route(gateway, name, route, schemas, business)
            for name, route in gateway.routes.items()
        },
        issuers=issuers,
        signatures=None if agents is None else SignatureRules(agents.window_seconds, agents.role, Tier.INTERNAL.value),
        failures=_compile_failures(gateway.services.authz.failed_credentials),
        audit_required=gateway.audit is Audit.REQUIRED,
        replay=gateway.replay,
        verified=VerifiedTokens() if verified is None else verified,
    )


def _same_routes(gateway: Gateway, former: Gateway, rules: Rules) -> dict[str, RouteRules]:
    """The routes of former rules that decide the same under this policy."""
    if any(isinstance(rule, ExpressionRule) for rule in gateway.rules.values()):
        # What an expression means depends on the schemas of all the routes under it.
        return {}
    if any(getattr(gateway, name) != getattr(former, name) for name in Gateway.model_fields if name != "routes"):
        return {}
    before = former.routes
    return {name: rules.routes[name] for name, route in gateway.routes.items() if before.get(name) == route}


def _compile_schemas(gateway: Gateway) -> dict[str, BodySchema]:
    schemas: dict[str, BodySchema] = {}
    for name, schema in gateway.schemas.items():
        try:
            schemas[name] = BodySchema(dict(schema))
        except ValueError as error:
            raise PolicyUnusableError(f"schema {name!r}: {error}") from error
    return schemas


def _allow_list(gateway: Gateway, names: Iterable[str]) -> AllowList | None:
    """All networks of the named lists; None where no list is named."""
    named = tuple(names)
    if not named:
        return None
    return AllowList.of(network for name in named for network in gateway.networks[name])


def _compile_failures(failed: FailedCredentials) -> FailureRules:
    return FailureRules(failed.per_minute, AllowList.of(failed.exempt))


def _compile_callers(callers: Callers) -> CallerRules:
    roles = {issuer: frozenset(admitted) for issuer, admitted in callers.tokens.items()}
    return CallerRules(roles, callers.partners, callers.agents, callers.refusal)


def _compile_business(gateway: Gateway) -> dict[str, CompiledRule]:
    compiled: dict[str, CompiledRule] = {}
    for name, rule in gateway.rules.items():
        try:
            compiled[name] = compile_rule(name, rule, gateway.schemas_under(name))
        except ValueError as error:
            raise PolicyUnusableError(f"rule {name!r}: {error}") from error
    return compiled


def _compile_route(
    gateway: Gateway,
    name: str,
    route: Route,
    schemas: Mapping[str, BodySchema],
    business: Mapping[str, CompiledRule],
) -> RouteRules:
    if gateway.checks_body(route) and gateway.max_body_of(route) > MAX_BODY_BYTES:
        raise PolicyUnusableError(f"route {name!r}: a body that is checked has at most {MAX_BODY_BYTES} bytes")
    namespace = gateway.scopes_of(route) or ""
    methods: dict[str, MethodRules] = {}
    for method, action in gateway.methods_of(route).items():
        schema = route.body.get(method)
        scope = f"{namespace}:{action.value}"
        # `x:*` grants both (C16).
        granting = frozenset({scope, f"{namespace}:*"}) if namespace else frozenset[str]()
        methods[method.value] = MethodRules(
            action.value,
            scope if namespace else "",
            granting,
            None if schema is None else schemas[schema],
            tuple(business[rule] for rule in gateway.rules_for(route, method)),
            "" if gateway.replay is None else judged_by(gateway, route, method),
        )
    return RouteRules(
        gateway=gateway.gateway,
        name=name,
        path=route.path,
        exact=route.match is Match.EXACT,
        public=route.access is Access.PUBLIC,
        listeners=frozenset(gateway.listeners_of(route)),
        networks=_allow_list(gateway, gateway.networks_of(route)),
        callers=_compile_callers(gateway.callers_of(route)),
        methods=methods,
        allow=", ".join(sorted(methods)),
        namespace=namespace,
        tiers=frozenset(tier.value for tier in gateway.tiers_of(route)),
        checks_body=gateway.checks_body(route),
        max_body=gateway.max_body_of(route),
        sender_field=gateway.agents.sender_field if gateway.agents is not None else None,
        strips_credentials=gateway.credentials is Credentials.STRIP,
        audit_required=gateway.audit_of(route) is Audit.REQUIRED,
        mode=gateway.mode_of(route),
        lowest_tier=next((tier.value for tier in Tier if tier in gateway.tiers_of(route)), Tier.FREE.value),
        sampled=0.0 if gateway.replay is None else gateway.replay.sample,
        limits=answered_by_check(gateway, route),
    )
