"""One route of a policy as OpenAPI operations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from policy.kinds import Method
from policy.limits import Limit
from policy.model import Access, Gateway, Match, Route
from policy.rules import Rule
from portal.reference.problems import problem

Operation = dict[str, Any]

TOKEN: Final = "token"  # noqa: S105 the name of a way to sign in
KEY: Final = "key"
SIGNATURE: Final = "signature"


def schema_name(gateway: Gateway, schema: str) -> str:
    """Where a schema of the policy stands among the components."""
    return f"{gateway.gateway}.{schema}"


def operations_of(gateway: Gateway, name: str, route: Route) -> Iterator[tuple[str, Operation]]:
    """By their methods in lower case; none where nobody is asked (a redirect, or what is gone)."""
    if route.redirect is not None:
        return
    for method in gateway.methods_of(route):
        yield method.lower(), _operation(gateway, name, route, method)


def _operation(gateway: Gateway, name: str, route: Route, method: Method) -> Operation:
    schema = route.body.get(method)
    operation: Operation = {
        "operationId": f"{gateway.gateway}.{name}.{method.lower()}",
        "tags": [gateway.gateway],
        "summary": route.description or f"{method} {route.path}",
        "description": "\n\n".join(_described(gateway, route, method)),
        "security": _security(gateway, route, method),
        "responses": {"200": _answer(), **_refusals(gateway, route, method)},
    }
    if schema is not None:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema_name(gateway, schema)}"}}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.deprecation is not None:
        operation["deprecated"] = True
    return operation


def _answer() -> dict[str, Any]:
    return {
        "description": "The service's answer.",
        "headers": {
            "x-request-id": {"$ref": "#/components/headers/RequestId"},
            "RateLimit": {"$ref": "#/components/headers/RateLimit"},
            "RateLimit-Policy": {"$ref": "#/components/headers/RateLimitPolicy"},
        },
    }


def _described(gateway: Gateway, route: Route, method: Method) -> Iterator[str]:
    if route.match is Match.PREFIX:
        yield f"Also serves every path below `{route.path}/`."
    if route.access is Access.PUBLIC:
        yield "Asks nobody who they are."
    else:
        tiers = ", ".join(gateway.tiers_of(route))
        yield f"For the tiers {tiers}."
    limits = [_limit(gateway.limits[limit]) for limit in gateway.limits_of(route) if limit in gateway.limits]
    if limits:
        yield "Limits:\n" + "\n".join(f"- {limit}" for limit in limits)
    rules = [_rule(gateway.rules[rule]) for rule in gateway.rules_for(route, method)]
    if rules:
        yield "Rules:\n" + "\n".join(f"- {rule}" for rule in rules)
    if method in route.body:
        yield f"A body of at most {gateway.max_body_of(route):,} octets."
    if (deprecation := route.deprecation) is not None:
        until = f", and is gone after {deprecation.sunset}" if deprecation.sunset else ""
        more = f" See {deprecation.link}." if deprecation.link else ""
        yield f"Deprecated since {deprecation.since}{until}.{more}"


def _limit(limit: Limit) -> str:
    """In words: `100 a minute for free, 500 for business`."""
    who = {"caller": "each caller", "address": "each address", "gateway": "all together"}[limit.per.value]
    if limit.tiers is None:
        return f"{limit.requests:,} a {limit.unit} for {who}"
    figures = []
    for tier in limit.tiers:
        figure = limit.figure(tier)
        figures.append(f"{tier} unlimited" if figure is None else f"{tier} {figure:,}")
    return f"a {limit.unit}, for {who}: " + ", ".join(figures)


def _rule(rule: Rule) -> str:
    return rule.description or str(rule.type)


def _security(gateway: Gateway, route: Route, method: Method) -> list[dict[str, Sequence[str]]]:
    """Any of these; an empty list where nobody is asked."""
    if route.access is Access.PUBLIC:
        return []
    callers = gateway.callers_of(route)
    namespace = gateway.scopes_of(route)
    scopes = [] if namespace is None else [f"{namespace}:{gateway.methods_of(route)[method].value}"]
    ways: list[dict[str, Sequence[str]]] = []
    if callers.tokens:
        ways.append({TOKEN: scopes})
    if callers.partners:
        ways.append({KEY: scopes})
    if callers.agents:
        ways.append({SIGNATURE: []})
    return ways


def _refusals(gateway: Gateway, route: Route, method: Method) -> Mapping[str, dict[str, Any]]:
    known = route.access is not Access.PUBLIC
    statuses = {400, 405, 431, 502, 503, 504}
    statuses |= {401, 403} if known else set()
    statuses |= {413, 415} if method in route.body else set()
    statuses |= {403} if gateway.networks_of(route) else set()
    statuses |= {429} if gateway.limits_of(route) or known else set()
    statuses |= {403, 422} if gateway.rules_for(route, method) else set()
    return {str(status): problem(status) for status in sorted(statuses)}
