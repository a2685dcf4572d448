"""The API reference through the central gateway: for everybody, and of what the gateways enforce."""

import pytest

from tests.support.client import Client, problem
from tests.support.openapi import faults

DOMAINS = ("marketing", "education", "sales")


@pytest.mark.requirement("R114")
def test_everybody_may_read_the_reference(client: Client) -> None:
    for page in ("docs", "redoc"):
        answer = client.call("GET", f"/api/{page}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
    document = client.call("GET", "/api/openapi.json").json()
    assert faults(document) == []
    assert {tag["name"] for tag in document["tags"]} == {"platform", *DOMAINS}


@pytest.mark.requirement("R115")
@pytest.mark.parametrize("domain", DOMAINS)
def test_each_domain_has_a_reference_of_its_own(domain: str, client: Client) -> None:
    before = client.hits(domain)
    for page in ("docs", "redoc"):
        answer = client.call("GET", f"/api/{domain}/{page}")
        assert answer.status_code == 200
        assert f"/api/{domain}/openapi.json" in answer.text
    document = client.call("GET", f"/api/{domain}/openapi.json").json()
    assert faults(document) == []
    assert document["paths"]
    assert all(path.startswith(f"/api/{domain}/") for path in document["paths"])
    # The service of the domain has no part in it.
    assert client.hits(domain) == before


@pytest.mark.requirement("R64")
def test_the_reference_tells_outsiders_nothing_of_the_agents_door(client: Client) -> None:
    document = client.call("GET", "/api/openapi.json").json()
    assert not [path for path in document["paths"] if path.startswith("/api/agents")]
    assert client.call("GET", "/api/agents/docs").status_code == 404


def test_a_page_that_the_reference_does_not_have_is_a_problem(client: Client) -> None:
    answer = client.call("GET", "/api/docs/nothing")
    assert answer.status_code == 404
    assert problem(answer)["code"] == "not_found"


@pytest.mark.parametrize("path", ["/api/docs", "/api/openapi.json", "/api/sales/docs"])
def test_the_reference_is_only_read(path: str, client: Client) -> None:
    assert client.call("POST", path, json={}).status_code == 405
