"""The reference says what gateways enforce: their schemas, scopes, limits and refusals."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from portal.reference.openapi import openapi

POLICY = """
gateway: shop
description: A shop.
owners: [team-shop]
issuers:
  customer: {issuer: "https://i.test", audience: "https://a.test", jwks: {url: "https://i.test/keys"}}
callers: {tokens: {customer: [customer]}, partners: true}
tiers: [free, business]
services:
  authz: {endpoint: "127.0.0.1:1"}
  ratelimit: {endpoint: "127.0.0.1:2"}
upstreams:
  shop: {endpoints: ["127.0.0.1:3"]}
listeners:
  mesh: {address: "127.0.0.1:4"}
limits:
  minute: {unit: minute, tiers: {free: 1000, business: unlimited}}
  door: {per: address, requests: 50}
schemas:
  tree:
    description: An order in parts.
    type: object
    required: [name]
    additionalProperties: false
    properties:
      name: {type: string, maxLength: 10}
      parts: {type: array, items: {$ref: "#"}}
      size: {$ref: "#/$defs/size"}
    $defs: {size: {type: integer, minimum: 1}}
  unused: {type: object}
defaults: {methods: {GET: read, POST: write}, scopes: shop, limits: [minute]}
routes:
  orders: {path: /api/orders, description: Orders, body: {POST: tree}, upstream: shop, max_body_bytes: 2000}
  stock: {path: /api/stock, match: exact, access: public, methods: {GET: read}, limits: [door], upstream: shop}
  old: {path: /api/old, upstream: shop, methods: {GET: read}, deprecation: {since: "2026-01-01", sunset: "2026-12-31"}}
  moved: {path: /api/moved, redirect: {prefix: /api/orders}}
"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi([gateway()], title="Shop", version="1", servers=["https://api.test"])


def gateway() -> Gateway:
    return load_gateway(Gateway, Source("shop.yaml", POLICY)).gateway


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "$ref":
                yield one
            else:
                yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def resolved(document: dict[str, Any], reference: str) -> Any:
    place: Any = document
    for part in reference.removeprefix("#/").split("/"):
        place = place[part.replace("~1", "/").replace("~0", "~")]
    return place


@pytest.mark.requirement("R114")
def test_every_route_is_there_with_the_methods_that_it_admits(document: dict[str, Any]) -> None:
    assert {path: set(found) for path, found in document["paths"].items()} == {
        "/api/orders": {"get", "post"}, "/api/stock": {"get"}, "/api/old": {"get"},
    }  # fmt: skip
    orders = document["paths"]["/api/orders"]["post"]
    assert orders["operationId"] == "shop.orders.post"
    assert "every path below `/api/orders/`" in orders["description"]
    assert "below" not in document["paths"]["/api/stock"]["get"]["description"]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        assert resolved(document, reference)


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ({"name": "x"}, True), ({"name": "x", "parts": [{"name": "y", "size": 2}]}, True), ({}, False),
        ({"name": "x", "parts": [{}]}, False), ({"name": "x", "size": 0}, False), ({"name": "x", "other": 1}, False),
    ],
)  # fmt: skip
def test_a_schema_says_what_the_gateway_enforces(document: dict[str, Any], body: object, good: bool) -> None:
    enforced = jsonschema_rs.validator_for(dict(gateway().schemas["tree"]))
    whole = {"$ref": "#/components/schemas/shop.tree", "components": document["components"]}
    assert enforced.is_valid(body) == jsonschema_rs.validator_for(whole).is_valid(body) == good


def test_only_schemas_that_some_body_is_checked_against_are_shown(document: dict[str, Any]) -> None:
    assert set(document["components"]["schemas"]) == {"Problem", "shop.tree"}


def test_it_says_who_may_call_and_with_which_scope(document: dict[str, Any]) -> None:
    orders = document["paths"]["/api/orders"]
    assert orders["get"]["security"] == [{"token": ["shop:read"]}, {"key": ["shop:read"]}]
    assert orders["post"]["security"] == [{"token": ["shop:write"]}, {"key": ["shop:write"]}]
    assert document["paths"]["/api/stock"]["get"]["security"] == []
    assert set(document["components"]["securitySchemes"]) == {"token", "key"}


def test_limits_are_told_in_figures(document: dict[str, Any]) -> None:
    assert (
        "- a minute, for each caller: free 1,000, business unlimited"
        in (document["paths"]["/api/orders"]["get"]["description"])
    )
    assert "- 50 a minute for each address" in document["paths"]["/api/stock"]["get"]["description"]


def test_refusals_are_those_that_can_be_met(document: dict[str, Any]) -> None:
    orders, stock = document["paths"]["/api/orders"], document["paths"]["/api/stock"]
    assert {"400", "401", "403", "413", "415", "429"} <= set(orders["post"]["responses"])
    assert "413" not in orders["get"]["responses"]
    assert "401" not in stock["get"]["responses"]
    assert "422" not in orders["post"]["responses"]


def test_what_is_deprecated_says_so(document: dict[str, Any]) -> None:
    old = document["paths"]["/api/old"]["get"]
    assert old["deprecated"] is True
    assert "is gone after 2026-12-31" in old["description"]


def test_what_is_shipped_has_operations_of_their_own_names() -> None:
    files = sorted((Path(__file__).parents[3] / "envoy" / "gateways").glob("*.yaml"))
    gateways = [load_gateway(Gateway, Source(str(file), file.read_text("utf-8"))).gateway for file in files]
    whole = openapi(gateways, title="Everything", version="1")
    names = [one["operationId"] for path in whole["paths"].values() for one in path.values()]
    assert len(names) == len(set(names)) > 20
    for reference in set(references(whole)):
        assert resolved(whole, reference)
    assert yaml.safe_load(yaml.safe_dump(whole)) == whole
