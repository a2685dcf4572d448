"""Policies by the console: mistakes at their lines, changes by whoever is signed in, and none over another's."""

import re

import httpx2
import pytest

from apibank.sre.control import ControlApi
from portal.sre.federation import SaidNoError
from portal.sre.past import Compared, compared
from tests.support.issuer_client import BASE
from tests.unit.portal.sre.conftest import Visit
from tests.unit.portal.sre.world import DIGEST, HOSTILE, REVISION, TEXT, ControlPlane

EDITOR = "/portal/sre/policies/marketing"
OWN = {"origin": BASE, "sec-fetch-site": "same-origin"}


async def token(browser: httpx2.AsyncClient) -> str:
    found = re.search(r'name="csrf_token" value="([0-9a-f]{64})"', (await browser.get(EDITOR)).text)
    assert found is not None
    return found[1]


async def send(browser: httpx2.AsyncClient, path: str = EDITOR, **fields: str) -> httpx2.Response:
    return await browser.post(path, data={"csrf_token": await token(browser), **fields}, headers=OWN)


def changes(plane: ControlPlane) -> list[str]:
    return [path for _, path, _ in plane.asked if path.endswith(("/apply", "/rollback"))]


async def test_a_mistake_is_shown_at_its_line_and_the_text_is_kept(visit: Visit, plane: ControlPlane) -> None:
    mistake = {"file": "marketing.yaml", "line": 3, "path": "routes.a", "message": f"no route {HOSTILE}"}
    refusal = {"code": "policy_invalid", "detail": "1 error(s)", "errors": [mistake]}
    plane.answers[("POST", "/v1/policies/diff")] = (422, refusal)
    sent = f"a: 1\r\nb: 2\r\nc: {HOSTILE}</textarea>"
    answer = await send(visit("admin"), text=sent, base=DIGEST, action="check")
    assert answer.status_code == 422
    assert "Line 3" in answer.text
    assert "no route &lt;script&gt;" in answer.text
    assert "&lt;/textarea&gt;" in answer.text
    assert HOSTILE not in answer.text
    assert "\r" not in str(plane.asked[-1][2])
    assert changes(plane) == []


async def test_a_good_text_is_compared_with_what_is_live(visit: Visit, plane: ControlPlane) -> None:
    change = {"path": "routes.a", "op": "changed", "before": 1, "after": HOSTILE, "file": "marketing.yaml", "line": 3}
    plane.answers[("POST", "/v1/policies/diff")] = (200, {"gateways": [{"changes": [change]}]})
    answer = await send(visit("admin"), text=TEXT, base=DIGEST, action="check")
    assert "marketing.yaml:3" in answer.text
    assert HOSTILE not in answer.text
    assert changes(plane) == []


async def test_whoever_is_signed_in_is_the_author_and_the_base_goes_with_the_change(
    visit: Visit, plane: ControlPlane
) -> None:
    answer = await send(
        visit("admin"), text=TEXT, base=DIGEST, action="apply", message="for acme\r\nX: y", percent="10"
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/portal/sre/rollouts/7"
    body, headers = plane.asked[-1][2], plane.headers[-1]
    assert body["bases"] == {"marketing": DIGEST}
    assert body["canary"] == {"percent": 10}
    assert headers["x-apibank-author"] == "admin_1"
    assert headers["x-apibank-reason"] == "for acme??X: y"


async def test_an_empty_percentage_is_no_canary(visit: Visit, plane: ControlPlane) -> None:
    answer = await send(visit("admin"), text=TEXT, base=DIGEST, action="apply", message="", percent="")
    assert answer.status_code == 303
    assert "canary" not in plane.asked[-1][2]


async def test_a_change_over_another_persons_is_refused_and_the_text_is_kept(visit: Visit, plane: ControlPlane) -> None:
    plane.answers[("POST", "/v1/policies/apply")] = (409, {"code": "base_outdated", "detail": "version ff is live"})
    answer = await send(visit("admin"), text="mine: 1\n", base=DIGEST, action="apply")
    assert answer.status_code == 409
    assert "Somebody else has changed this policy" in answer.text
    assert "mine: 1" in answer.text


async def test_the_history_leads_back_to_a_revision(visit: Visit, plane: ControlPlane) -> None:
    browser = visit("admin")
    assert 'href="/portal/sre/revisions/7"' in (await browser.get(f"{EDITOR}/history")).text
    text = (await browser.get("/portal/sre/revisions/7")).text
    assert "Go back to revision 7" in text
    assert f'name="base" value="{DIGEST}"' in text
    answer = await send(browser, f"{EDITOR}/rollback", revision="7", base=DIGEST, message="worse")
    assert answer.headers["location"] == "/portal/sre/rollouts/7"
    sent = plane.asked[-1][2]
    assert (sent["target"], sent["bases"], sent["message"]) == ("7", {"marketing": DIGEST}, "worse")
    assert plane.headers[-1]["x-apibank-author"] == "admin_1"


async def test_a_revision_shows_what_it_changed_and_what_going_back_would_change(visit: Visit) -> None:
    text = (await visit("admin").get("/portal/sre/revisions/7")).text
    changed, back = text.split('id="back"')
    assert '<span class="removed">-   a: 6</span>' in changed
    assert '<span class="added">+   a: &lt;script&gt;alert(1)&lt;/script&gt;</span>' in changed
    assert '<span class="removed">-   a: 1</span>' in back
    assert HOSTILE not in text
    assert "Of the fifty changes before it none was live" in (
        await visit("admin").get("/portal/sre/revisions/6")
    ).text  # fmt: skip


async def test_after_going_back_the_newest_of_two_like_revisions_is_in_force(visit: Visit, plane: ControlPlane) -> None:
    again = REVISION | {"revision": 9, "source": "rollback"}
    plane.answers[("GET", "/v1/policies/history")] = (200, [again, REVISION])
    live = {"gateway": "marketing", "version": REVISION["version"], "revision": 9, "text": TEXT}
    plane.answers[("GET", "/v1/policies/marketing")] = (200, live)
    assert (await visit("admin").get(f"{EDITOR}/history")).text.count("in force") == 1


async def test_a_control_plane_that_takes_its_time_is_not_said_to_have_done_nothing() -> None:
    def slow(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ReadTimeout("no answer yet")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(slow)) as http:
        control = ControlApi("http://control", lambda: "token", http)
        with pytest.raises(SaidNoError, match="goes on: see the history") as said:
            await control.roll_back("marketing", 7, DIGEST, "", "admin_1")
    assert said.value.status == 504


async def test_nobody_goes_back_over_what_somebody_else_has_changed_meanwhile(
    visit: Visit, plane: ControlPlane
) -> None:
    plane.answers[("POST", "/v1/policies/rollback")] = (409, {"code": "base_outdated", "detail": "version ff is live"})
    answer = await send(visit("admin"), f"{EDITOR}/rollback", revision="7", base=DIGEST)
    assert answer.status_code == 409
    assert "Compare again" in answer.text


def test_texts_are_compared_by_their_lines_and_no_longer_than_anybody_reads() -> None:
    assert compared("a\nb\n", "a\nb\n") == Compared([])
    assert compared("a\n-- b\n", "a\n++ c\n").lines[1:] == [(" ", "a"), ("-", "-- b"), ("+", "++ c")]
    many = compared("", "x\n" * 4_000)
    assert (len(many.lines), many.cut) == (1_000, 3_001)
    assert compared("", "x\n" * 5_001).too_long


async def test_a_rollout_is_followed_until_it_is_live(visit: Visit, plane: ControlPlane) -> None:
    browser = visit("admin")
    assert "refresh" not in (await browser.get("/portal/sre/rollouts/7")).headers
    status, told = plane.answers[("GET", "/v1/policies/rollouts/7")]
    assert isinstance(told, dict)
    plane.answers[("GET", "/v1/policies/rollouts/7")] = (status, {**told, "result": "running", "live": 0})
    assert (await browser.get("/portal/sre/rollouts/7")).headers["refresh"] == "2"


@pytest.mark.parametrize("path", [EDITOR, f"{EDITOR}/rollback"])
async def test_forms_of_elsewhere_and_of_other_sessions_change_nothing(
    visit: Visit, plane: ControlPlane, path: str
) -> None:
    browser = visit("admin")
    form = {"text": TEXT, "base": DIGEST, "action": "apply", "revision": "7"}
    own = {**form, "csrf_token": await token(browser)}
    for headers, data in (({}, own), ({"origin": "https://evil.example"}, own), (OWN, form)):
        assert (await browser.post(path, data=data, headers=headers)).status_code == 403
    for who in ("", "customer"):
        assert (await visit(who).post(path, data=own, headers=OWN)).status_code == 404
    assert changes(plane) == []


@pytest.mark.parametrize(
    "fields",
    [{"base": "x"}, {"action": "drop"}, {"percent": "101"}, {"author": "somebody"}, {"message": "m" * 1001}],
)
async def test_a_form_with_anything_else_is_not_taken(
    visit: Visit, plane: ControlPlane, fields: dict[str, str]
) -> None:
    sent = {"text": TEXT, "base": DIGEST, "action": "apply", **fields}
    assert (await send(visit("admin"), **sent)).status_code == 422
    assert changes(plane) == []


@pytest.mark.parametrize(("size", "status"), [(1024 * 1024 + 1, 422), (3 * 1024 * 1024 + 16_385, 413)])
async def test_a_text_that_is_too_long_is_refused_here(
    visit: Visit, plane: ControlPlane, size: int, status: int
) -> None:
    answer = await send(visit("admin"), text="a" * size, base=DIGEST, action="apply")
    assert answer.status_code == status
    assert len(answer.text) < 20_000
    assert changes(plane) == []
