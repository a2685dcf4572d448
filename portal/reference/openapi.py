"""Policies as an OpenAPI 3.1 document (spec.openapis.org/oas/v3.1.1).

Its schemas are those that bodies are checked against, its limits those that are counted, its scopes those that are
demanded: the document is made of the policy in force, and of nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from policy.model import Gateway
from portal.reference import problems
from portal.reference.operations import KEY, SIGNATURE, TOKEN, operations_of, schema_name

Document = dict[str, Any]

VERSION: Final = "3.1.1"
# Keywords of JSON Schema 2020-12 that refer to another place of the same schema.
_REFERENCES: Final = frozenset({"$ref", "$dynamicRef"})


def openapi(
    gateways: Sequence[Gateway],
    *,
    title: str,
    version: str,
    servers: Sequence[str] = (),
    description: str = "",
) -> Document:
    """Everything that these gateways serve. `servers`: where, as URLs of the central gateway.

    Where two serve one path with one method, the later of them is told of: name those that clients come to first ahead.
    """
    paths: dict[str, dict[str, Any]] = {}
    for gateway in gateways:
        for name in sorted(gateway.routes):
            route = gateway.routes[name]
            operations = dict(operations_of(gateway, name, route))
            if operations:
                paths.setdefault(route.path, {}).update(operations)
    document: Document = {
        "openapi": VERSION,
        "info": {"title": title, "version": version, "description": description},
        "servers": [{"url": url} for url in servers],
        "tags": [{"name": one.gateway, "description": one.description} for one in gateways],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {"Problem": dict(problems.SCHEMA), **_schemas(gateways)},
            "responses": problems.responses(),
            "headers": _HEADERS,
            "securitySchemes": _ways(gateways),
        },
    }
    if not servers:
        del document["servers"]
    return document


def _schemas(gateways: Iterable[Gateway]) -> dict[str, Any]:
    """Those that some body is checked against."""
    found: dict[str, Any] = {}
    for gateway in gateways:
        used = {name for route in gateway.routes.values() for name in route.body.values()}
        for name in sorted(used & gateway.schemas.keys()):
            there = schema_name(gateway, name)
            found[there] = _rooted(dict(gateway.schemas[name]), f"#/components/schemas/{there}")
    return found


def _rooted(schema: JsonValue | Mapping[str, JsonValue], root: str) -> Any:
    """The schema as part of a document: what it refers to within itself lies below `root` now."""
    if isinstance(schema, Mapping):
        return {
            name: f"{root}{value[1:]}"
            if name in _REFERENCES and isinstance(value, str) and (value == "#" or value.startswith("#/"))
            else _rooted(value, root)
            for name, value in schema.items()
        }
    if isinstance(schema, list):
        return [_rooted(item, root) for item in schema]
    return schema


def _ways(gateways: Sequence[Gateway]) -> dict[str, Any]:
    callers = [
        gateway.callers_of(route)
        for gateway in gateways
        for route in gateway.routes.values()
    ]  # fmt: skip
    ways: dict[str, Any] = {}
    if any(one.tokens for one in callers):
        ways[TOKEN] = {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token (RFC 6750, RFC 9068).",
        }
    if any(one.partners for one in callers):
        ways[KEY] = {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A partner's key."}
    if any(one.agents for one in callers):
        ways[SIGNATURE] = {
            "type": "apiKey",
            "in": "header",
            "name": "Signature",
            "description": "An HTTP message signature (RFC 9421, hmac-sha256) over body and path.",
        }
    return ways


def _header(text: str, **schema: object) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string", **schema}}


_HEADERS: Final[Mapping[str, Any]] = {
    "RequestId": _header("Names this request, here and in every log."),
    "RateLimit": _header("What is left of each limit (draft-ietf-httpapi-ratelimit-headers)."),
    "RateLimitPolicy": _header("The limits that counted."),
    "RetryAfter": _header("Seconds until such a request passes again (RFC 9110 §10.2.3).", pattern="^[0-9]+$"),
    "Challenge": _header("What is asked for, and what was wrong with what came (RFC 6750 §3)."),
    "Allow": _header("The methods that the path knows (RFC 9110 §10.2.1)."),
}
