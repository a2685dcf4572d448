"""The console: what is broken comes first, nobody but an administrator learns of it, and nothing runs in its pages."""

import pytest

from portal.developer.usage import Tally
from tests.unit.portal.sre.conftest import Routes, Visit
from tests.unit.portal.sre.world import HOSTILE, TOKEN, ControlPlane

PAGES = [
    "/portal/sre",
    "/portal/sre/gateways/marketing",
    "/portal/sre/policies/marketing",
    "/portal/sre/policies/marketing/history",
    "/portal/sre/rollouts/7",
    "/portal/sre/revisions/7",
    "/portal/sre/explain",
    "/portal/sre/traces",
]


@pytest.mark.parametrize("who", ["", "customer", "forged"])
@pytest.mark.parametrize("path", [*PAGES, "/portal/sre/rollouts/x", "/portal/sre/revisions/x"])
async def test_nobody_but_an_administrator_learns_that_there_is_a_page(
    visit: Visit, plane: ControlPlane, path: str, who: str
) -> None:
    answer = await visit(who).get(path)
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert "marketing" not in answer.text
    assert plane.asked == []


@pytest.mark.parametrize("path", PAGES)
async def test_no_page_has_the_control_token_or_runs_what_it_shows(visit: Visit, path: str) -> None:
    answer = await visit("admin").get(path)
    assert answer.status_code == 200
    assert TOKEN not in answer.text + str(answer.headers)
    assert HOSTILE not in answer.text
    assert " style=" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-frame-options"] == "DENY"


async def test_what_is_broken_comes_first_with_its_line_and_envoys_words(visit: Visit) -> None:
    text = (await visit("admin").get("/portal/sre")).text
    assert text.index("bad regex") < text.index("Gateways and their Envoys")
    assert "marketing.yaml:42" in text
    assert "marketing: out of sync, 0 of 1 Envoys live" in text


async def test_a_gateway_shows_what_its_envoys_refuse_and_what_its_routes_were_sent(
    visit: Visit, routes: Routes
) -> None:
    empty = (await visit("admin").get("/portal/sre/gateways/marketing")).text
    assert "REJECTED" in empty
    assert "No requests have been counted here in the last hour" in empty
    routes.found = [("campaigns", Tally(5, 2, 1, 3.0, 9.0))]
    text = (await visit("admin").get("/portal/sre/gateways/marketing")).text
    assert "campaigns" in text
    assert "9.0 ms" in text


@pytest.mark.parametrize("name", ["nowhere", "..%2fkeys", "Marketing", "a b", "%3Cscript%3E"])
async def test_a_gateway_that_is_none_has_no_page_and_leads_nowhere_else(
    visit: Visit, plane: ControlPlane, name: str
) -> None:
    assert (await visit("admin").get(f"/portal/sre/gateways/{name}")).status_code == 404
    assert (await visit("admin").get(f"/portal/sre/policies/{name}")).status_code == 404
    assert {path for _, path, _ in plane.asked} <= {"/v1/status", "/v1/policies/nowhere"}


@pytest.mark.parametrize("status", [401, 500, 503])
async def test_a_control_plane_that_does_not_answer_is_said_and_its_page_is_not_shown(
    visit: Visit, plane: ControlPlane, status: int
) -> None:
    plane.answers[("GET", "/v1/status")] = (status, {"odd": HOSTILE})
    answer = await visit("admin").get("/portal/sre")
    assert answer.status_code in {502, 503}
    assert "The control plane says no" in answer.text
    assert HOSTILE not in answer.text
