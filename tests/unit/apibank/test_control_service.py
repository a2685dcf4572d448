"""The control API as it is served: with the process's own figures beside it, and one form for all that is refused."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from apibank.observed import observe, process_registry
from portal.control_api import GatewayState, ResourceState, control_app

SECRET = "a-secret-of-the-control-plane"


class Nothing:
    def gateways(self) -> list[GatewayState]:
        return []

    def resources(self) -> list[ResourceState]:
        return []


async def _always() -> bool:
    return True


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    application = control_app(Nothing(), Nothing(), lambda: SECRET)  # type: ignore[arg-type]
    observe(application, process_registry(), _always)
    headers = {"authorization": f"Bearer {SECRET}"}
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "allow"),
    [
        ("GET", "/v1/nothing", 404, "not_found", None),
        ("GET", "/nothing", 404, "not_found", None),
        ("PUT", "/v1/status", 405, "method_not_allowed", "GET"),
        ("POST", "/metrics", 405, "method_not_allowed", "GET"),
    ],
)
async def test_what_is_not_served_is_a_problem_like_any_other(
    method: str, path: str, status: int, code: str, allow: str | None, http: httpx2.AsyncClient
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["code"] == code
    assert (allow is None) == ("allow" not in answer.headers)
    assert allow is None or allow in answer.headers["allow"].split(", ")


@pytest.mark.parametrize("path", ["/metrics", "/ready", "/healthz"])
async def test_figures_are_told_to_whoever_has_no_secret(path: str, http: httpx2.AsyncClient) -> None:
    assert (await http.get(path, headers={"authorization": ""})).status_code == 200


async def test_whoever_has_no_secret_is_told_what_to_send(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/status", headers={"authorization": ""})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, 'Bearer realm="control"')
