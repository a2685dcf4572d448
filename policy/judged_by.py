"""What judges a request's body under a policy, as a digest: equal digests judge equal bodies equally."""

import hashlib

import orjson

from policy.kinds import Method
from policy.model import Gateway
from policy.route import Route


def judged_by(gateway: Gateway, route: Route, method: str) -> str:
    """Digest of the schema, the rules and the bounds that hold for a method of a route."""
    known = next((one for one in gateway.methods_of(route) if one == method), None)
    schema = None if known is None else route.body.get(known)
    judges = {
        "schema": None if schema is None else gateway.schemas[schema],
        "rules": [gateway.rules[name].model_dump(mode="json") for name in _rules(gateway, route, known)],
        "checked": gateway.checks_body(route),
        "most": gateway.max_body_of(route),
        "sender": None if gateway.agents is None else gateway.agents.sender_field,
    }
    return hashlib.sha256(orjson.dumps(judges, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _rules(gateway: Gateway, route: Route, method: Method | None) -> tuple[str, ...]:
    return () if method is None else gateway.rules_for(route, method)
