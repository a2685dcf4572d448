"""Questions about limits by the control API: what it does not know is a mistake, and never a question about more."""

from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest

from portal.control_api import control_app
from portal.limits_api import Record, UsageQuestion
from tests.unit.portal.test_control_api import SECRET, Desk, Fleet


class Asked:
    """The port `Limits`, which says what it was asked."""

    async def limits(self, gateway: str | None) -> Sequence[Record]:
        return [{"gateway": gateway}]

    async def usage(self, question: UsageQuestion) -> Record:
        return question.model_dump(exclude_none=True)


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=control_app(Fleet(), Desk(), lambda: SECRET, limits=Asked()))
    headers = {"authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "pointer", "known"),
    [
        ("/v1/limits?gatewy=marketing", "/gatewy", "expected one of gateway"),
        ("/v1/usage?tenent=acme", "/tenent", "address, agent, gateway, limit, partner, subject, tenant, tier"),
    ],
)
async def test_a_misspelt_parameter_is_named_beside_those_that_there_are(
    path: str, pointer: str, known: str, http: httpx2.AsyncClient
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    (error,) = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert known in error["rule"]


async def test_what_is_asked_reaches_who_knows(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v1/limits?gateway=marketing")).json() == [{"gateway": "marketing"}]
    assert (await http.get("/v1/limits")).json() == [{"gateway": None}]
    assert (await http.get("/v1/usage?tenant=acme&tier=free")).json() == {"tenant": "acme", "tier": "free"}


async def test_two_callers_at_once_are_a_mistake(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/usage?tenant=acme&subject=jane")
    assert answer.status_code == 422
    assert "one of subject, tenant, partner, agent, address, not subject and tenant" in answer.json()["detail"]
