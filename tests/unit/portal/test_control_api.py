"""The control API: a secret opens it, and every refusal is a problem."""

from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest

from portal.control_api import (
    BadKeyError,
    GatewayState,
    KeyNotFoundError,
    NewKey,
    NotInForceError,
    ResourceState,
    control_app,
)

SECRET = "a-secret-of-the-control-plane"


class Desk:
    """Keys that know three partners: one good, one refused, one whose gateways are late."""

    async def create(self, new: NewKey) -> dict[str, object]:
        if new.partner == "refused":
            raise BadKeyError("no such scope")
        if new.partner == "late":
            raise NotInForceError("not yet in force on: marketing@host")
        return {"id": "k_1", "key": "the key", "partner": new.partner}

    async def list(self) -> Sequence[dict[str, object]]:
        return [{"id": "k_1"}]

    async def expiring(self, days: int) -> Sequence[dict[str, object]]:
        return [{"id": "k_1", "within": days}]

    async def rotate(self, key_id: str, overlap_hours: int) -> dict[str, object]:
        return {"id": "k_2", "overlap": overlap_hours}

    async def revoke(self, key_id: str) -> dict[str, object]:
        if key_id != "k_1":
            raise KeyNotFoundError(f"there is no key {key_id}")
        return {"id": key_id, "status": "revoked"}


class Fleet:
    def gateways(self) -> Sequence[GatewayState]:
        return [GatewayState("marketing", "v1", None, 1, 1)]

    def resources(self) -> Sequence[ResourceState]:
        return [ResourceState("marketing", "marketing-1", "LDS", "mesh", "SYNCED", "v1")]


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=control_app(Fleet(), Desk(), lambda: SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        yield client


GOOD = {"partner": "acme", "scopes": ["partner:acme:marketing:read"]}


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", SECRET, f"Basic {SECRET}", f"Bearer {SECRET} "])
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/status"), ("POST", "/v1/keys"), ("GET", "/v1/nothing")])
async def test_nothing_is_said_without_the_secret(
    method: str, path: str, header: str, http: httpx2.AsyncClient
) -> None:
    answer = await http.request(method, path, content=b"not json", headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "control_token_invalid"


async def test_the_status_tells_of_gateways_and_resources(http: httpx2.AsyncClient) -> None:
    answer = (await http.get("/v1/status")).json()
    assert answer["gateways"][0]["gateway"] == "marketing"
    assert answer["resources"][0]["status"] == "SYNCED"


async def test_keys_are_made_listed_rotated_and_revoked(http: httpx2.AsyncClient) -> None:
    assert (await http.post("/v1/keys", json=GOOD)).json()["key"] == "the key"
    assert (await http.get("/v1/keys")).json() == [{"id": "k_1"}]
    assert (await http.post("/v1/keys/k_1/rotate", json={"overlap_hours": 2})).json()["overlap"] == 2
    assert (await http.post("/v1/keys/k_1/revoke")).json()["status"] == "revoked"


async def test_keys_that_end_soon_are_listed_two_weeks_ahead_unless_told_otherwise(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/v1/keys/expiring")).json() == [{"id": "k_1", "within": 14}]
    assert (await http.get("/v1/keys/expiring?days=30")).json() == [{"id": "k_1", "within": 30}]
    assert (await http.get("/v1/keys/expiring?days=0")).status_code == 422


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/keys", {**GOOD, "partner": "refused"}, 422, "key_not_possible"),
        ("/v1/keys", {**GOOD, "partner": "late"}, 504, "change_not_in_force"),
        ("/v1/keys", {**GOOD, "partner": "Not A Name"}, 422, "request_invalid"),
        ("/v1/keys", {**GOOD, "tier": "internal"}, 422, "request_invalid"),
        ("/v1/keys", {**GOOD, "expires_in_days": 91}, 422, "request_invalid"),
        ("/v1/keys", {**GOOD, "unknown": 1}, 422, "request_invalid"),
        ("/v1/keys/k_9/revoke", {}, 404, "key_not_found"),
        ("/v1/nothing", {}, 404, "not_found"),
    ],
)
async def test_every_refusal_is_a_problem(
    path: str, body: dict[str, object], status: int, code: str, http: httpx2.AsyncClient
) -> None:
    answer = await http.post(path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)


async def test_a_refusal_repeats_no_value(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/keys", json={**GOOD, "partner": "waw_live_sk_SECRET"})
    assert answer.status_code == 422
    assert "SECRET" not in answer.text


async def test_an_empty_secret_lets_nobody_in() -> None:
    transport = httpx2.ASGITransport(app=control_app(Fleet(), Desk(), lambda: ""))
    async with httpx2.AsyncClient(transport=transport, base_url="http://control") as client:
        for header in ("Bearer ", "Bearer", ""):
            answer = await client.get("/v1/status", headers={"authorization": header})
            assert answer.status_code == 401


class Counted(Fleet):
    """Counts how often its resources are asked for, and shows the same ones until it is told of others."""

    def __init__(self) -> None:
        self.asked = 0
        self.shown = super().resources()

    def resources(self) -> Sequence[ResourceState]:
        self.asked += 1
        return self.shown


async def test_who_only_wants_the_gateways_makes_nobody_look_at_resources() -> None:
    fleet = Counted()
    transport = httpx2.ASGITransport(app=control_app(fleet, Desk(), lambda: SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        answer = (await client.get("/v1/status?resources=false")).json()
        assert (set(answer), fleet.asked) == ({"gateways"}, 0)
        for status in ("SYNCED", "STALE"):
            fleet.shown = [ResourceState("marketing", "marketing-1", "LDS", "mesh", status, "v1")]
            for _ in range(2):
                answer = (await client.get("/v1/status")).json()
                assert [one["status"] for one in answer["resources"]] == [status]


@pytest.mark.parametrize(
    "path", ["/v1/status?resource=false", "/v1/keys?partner=acme", "/v1/keys/expiring?days=3&day=4"]
)
async def test_a_parameter_that_there_is_not_is_no_filter_but_a_mistake(path: str, http: httpx2.AsyncClient) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    (error,) = answer.json()["errors"]
    assert error["pointer"] in {"/resource", "/partner", "/day"}
    assert "expected" in error["rule"]


async def test_a_place_is_told_as_a_pointer_whatever_somebody_called_it(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/v1/keys", params={"a/b~c" + "d" * 200: "1"})
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "/a~1b~0c" + "d" * 95
