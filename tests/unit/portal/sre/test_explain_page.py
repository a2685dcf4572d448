"""A request explained in the console: said in words, by whoever may, and no credential comes back or stays."""

import base64

import httpx2
import pytest

from apibank.explanation import explained
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.support.stack import ROOT
from tests.unit.portal.sre.conftest import Visit
from tests.unit.portal.sre.test_editor import OWN, token
from tests.unit.portal.sre.world import HOSTILE, ControlPlane

PAGE = "/portal/sre/explain"
SECRET = "ey" + "SECRET." * 9
CHECKS = {
    "checks": [
        {"check": "network", "said": "passed"},
        {
            "check": "identity", "said": "refused", "status": 401, "reason": "token_expired", "detail": "It has ended.",
            "cause": HOSTILE, "scope": "", "errors": [],
        },
    ],
    "shadowed_rules": [], "caller": None, "outcome": "refused", "sent_upstream": None, "removed": [], "nonce": None,
    "notes": [],
}  # fmt: skip


def record() -> dict[str, object]:
    """What the control API would tell, of the shipped policies."""
    policies = {}
    for name in ("central", "marketing"):
        file = ROOT / "envoy" / "gateways" / f"{name}.yaml"
        policies[name] = load_gateway(Gateway, Source(file.name, file.read_text()))
    told = dict(explained(policies, "POST", "/api/marketing/content", "central").as_record())
    hops = told["hops"]
    assert isinstance(hops, list)
    told["hops"] = [hops[0] | CHECKS, *hops[1:]]
    return told | {"refused": True, "status": 401, "detail": "token_expired", "by": "central"}


async def send(browser: httpx2.AsyncClient, **fields: str) -> httpx2.Response:
    return await browser.post(PAGE, data={"csrf_token": await token(browser), **fields}, headers=OWN)


async def test_the_way_of_a_request_and_every_check_are_said_in_words(visit: Visit, plane: ControlPlane) -> None:
    plane.answers[("POST", "/v1/explain")] = (200, record())
    answer = await send(
        visit("admin"), method="POST", path="/api/marketing/content?x=1", credential=SECRET, address="203.0.113.9",
        headers="x-debug: 1\r\n\r\nx-more:  2 ", body='{"a":\r\n 1}',
    )  # fmt: skip
    assert answer.status_code == 200
    assert "refused by central: 401: token_expired" in answer.text
    for words in ("1. central", "marketing.yaml:", "the longest prefix of the path", "It has ended."):
        assert words in answer.text
    assert HOSTILE not in answer.text
    asked = plane.asked[-1][2]
    assert (asked["method"], asked["path"], asked["address"]) == ("POST", "/api/marketing/content?x=1", "203.0.113.9")
    assert asked["headers"] == {
        "x-debug": "1", "x-more": "2", "authorization": f"Bearer {SECRET}", "content-type": "application/json",
    }  # fmt: skip
    assert base64.b64decode(str(asked["body"])) == b'{"a":\n 1}'


@pytest.mark.parametrize(
    ("credential", "headers"),
    [
        ("waw_live_sk_0123456789abcdefghij", {"x-api-key": "waw_live_sk_0123456789abcdefghij"}),
        ("Bearer abc", {"authorization": "Bearer abc"}),
        ("  abc ", {"authorization": "Bearer abc"}),
        ("", None),
    ],
)
async def test_a_key_and_a_token_go_where_clients_send_them(
    visit: Visit, plane: ControlPlane, credential: str, headers: dict[str, str] | None
) -> None:
    plane.answers[("POST", "/v1/explain")] = (200, record())
    await send(visit("admin"), method="GET", path="/api/x", credential=credential)
    assert plane.asked[-1][2].get("headers") == headers


@pytest.mark.attack("A58")
@pytest.mark.parametrize("status", [200, 404, 422, 502])
async def test_no_credential_comes_back_in_any_page(visit: Visit, plane: ControlPlane, status: int) -> None:
    refusal = {"code": "gateway_not_found", "detail": "there is no gateway 'x'", "errors": []}
    plane.answers[("POST", "/v1/explain")] = (status, record() if status == 200 else refusal)
    answer = await send(
        visit("admin"), method="GET", path="/api/x", credential=SECRET, headers=f"cookie: {SECRET}", gateway="x"
    )
    assert SECRET not in answer.text + str(answer.headers)
    assert answer.status_code == status
    # What is no secret is kept, so that nobody types it twice.
    if status < 500:
        assert 'value="/api/x"' in answer.text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "api/x"), ("path", ""), ("method", "get"), ("address", "nowhere"), ("headers", "no colon here"),
        ("headers", "bad name: x"), ("body", "x" * 65_537), ("gateway", "x" * 64), ("unknown", "x"),
    ],
)  # fmt: skip
async def test_a_field_that_is_none_is_marked_and_nothing_is_asked(
    visit: Visit, plane: ControlPlane, field: str, value: str
) -> None:
    sent = {"method": "GET", "path": "/api/x", "credential": SECRET, field: value}
    answer = await send(visit("admin"), **sent)
    assert answer.status_code == 422
    assert SECRET not in answer.text
    assert ("POST", "/v1/explain") not in {(method, path) for method, path, _ in plane.asked}
    if field not in {"unknown", "method"}:
        assert f'id="{field}-fault"' in answer.text


async def test_a_form_from_elsewhere_or_by_somebody_else_asks_nothing(visit: Visit, plane: ControlPlane) -> None:
    fields = {"csrf_token": await token(visit("admin")), "method": "GET", "path": "/api/x"}
    foreign = {"origin": "https://evil.example", "sec-fetch-site": "cross-site"}
    assert (await visit("admin").post(PAGE, data=fields, headers=foreign)).status_code == 403
    assert (await visit("admin").post(PAGE, data=fields | {"csrf_token": "0" * 64}, headers=OWN)).status_code == 403
    for who in ("", "customer", "forged"):
        assert (await visit(who).post(PAGE, data=fields, headers=OWN)).status_code == 404
        assert (await visit(who).get(PAGE)).status_code == 404
    assert ("POST", "/v1/explain") not in {(method, path) for method, path, _ in plane.asked}


async def test_a_body_is_not_shown_again_and_a_header_is_there_once(visit: Visit, plane: ControlPlane) -> None:
    plane.answers[("POST", "/v1/explain")] = (200, record())
    answer = await send(visit("admin"), method="POST", path="/api/x", body='{"email": "ann@example.com"}')
    assert "ann@example.com" not in answer.text
    answer = await send(visit("admin"), path="/api/x", headers="X-A: 1\nx-a: 2")
    assert answer.status_code == 422
    assert "Line 2 has a header that is there already" in answer.text
