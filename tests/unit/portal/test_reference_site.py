"""The pages of the API reference: from here alone, for the domains that have one, and valid by the specification."""

import json
from collections.abc import Mapping

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from policy.model import Gateway
from portal.problems import Refused, problem
from portal.reference.documents import PolicyDocuments
from portal.reference.site import reference_routes
from tests.support.openapi import faults
from tests.unit.portal.test_openapi import gateway


class Policies:
    """Those in force, as a test changes them."""

    def __init__(self) -> None:
        self.there: dict[str, Gateway] = {"shop": gateway(), "hidden": gateway()}

    def __call__(self) -> Mapping[str, Gateway]:
        return self.there


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture
def client(policies: Policies) -> TestClient:
    app = FastAPI(openapi_url=None)
    app.include_router(reference_routes(PolicyDocuments(policies, ("shop", "later"), "1")))
    app.add_exception_handler(Refused, lambda _, refusal: problem(refusal.status, refusal.code, str(refusal)))
    return TestClient(app)


@pytest.mark.requirement("R114", "R115")
@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/shop/openapi.json"])
def test_a_document_is_valid_openapi(client: TestClient, path: str) -> None:
    document = client.get(path).json()
    assert faults(document) == []
    assert "/api/orders" in document["paths"]


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc", "/api/shop/docs", "/api/shop/redoc"])
def test_a_page_loads_only_what_is_here(client: TestClient, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "//" not in page.text.replace("<!doctype", "")
    for attribute in ('src="', 'href="'):
        for part in page.text.split(attribute)[1:]:
            found = client.get(part.split('"')[0])
            assert found.status_code == 200
            assert found.headers["x-content-type-options"] == "nosniff"


def test_no_file_asks_another_host_for_an_image(client: TestClient) -> None:
    assert "cdn.redoc.ly" not in client.get("/api/docs/assets/redoc.standalone.js").text


def test_no_script_runs_in_a_page_but_files_from_here(client: TestClient) -> None:
    rules = dict(rule.split(" ", 1) for rule in client.get("/api/docs").headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self'"
    assert rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == "'none'"


@pytest.mark.parametrize("domain", ["hidden", "later", "unheard-of", "..", "%2e%2e", "docs", "<script>"])
@pytest.mark.parametrize("page", ["docs", "redoc", "openapi.json"])
def test_who_has_no_reference_has_no_page(client: TestClient, domain: str, page: str) -> None:
    assert client.get(f"/api/{domain}/{page}").status_code == 404


@pytest.mark.parametrize("name", ["../site.py", "..%2fsite.py", "site.py", "", "start-swagger-ui.js/.."])
def test_only_named_files_are_served(client: TestClient, name: str) -> None:
    found = client.get(f"/api/docs/assets/{name}")
    assert found.status_code == 404 or found.headers["content-type"].startswith("text/html")
    assert "def reference_routes" not in found.text


def test_a_document_is_sent_once(client: TestClient) -> None:
    first = client.get("/api/openapi.json")
    again = client.get("/api/openapi.json", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/openapi.json", headers={"if-none-match": '"other"'}).status_code == 200


def test_a_document_follows_the_policy(client: TestClient, policies: Policies) -> None:
    before = client.get("/api/shop/openapi.json")
    shop = policies.there["shop"]
    orders = shop.routes["orders"].model_copy(update={"path": "/api/purchases"})
    policies.there["shop"] = shop.model_copy(update={"routes": {**shop.routes, "orders": orders}})
    after = client.get("/api/shop/openapi.json")
    assert "/api/purchases" in json.loads(after.content)["paths"]
    assert after.headers["etag"] != before.headers["etag"]


def test_the_check_of_documents_finds_faults() -> None:
    bad = {"openapi": "3.1.1", "info": {"title": "t"}, "paths": {"/a": {"get": {"responses": {"two": {}}}}}}
    assert len(faults(bad)) >= 2
    schema = {"components": {"schemas": {"a": {"pattern": "("}}}}
    assert faults({"openapi": "3.1.1", "info": {"title": "t", "version": "1"}, **schema})


@pytest.mark.parametrize(
    "path",
    ["/api/docs", "/api/redoc", "/api/openapi.json", "/api/shop/docs", "/api/shop/redoc", "/api/shop/openapi.json"],
)
def test_whoever_asks_for_the_head_gets_the_head_alone(client: TestClient, path: str) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers == whole.headers
    assert client.head("/api/unheard-of/docs").status_code == 404
