"""`apibank explain`: the way of a request by the policies, and the exit code that scripts ask for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from apibank.cli import app
from apibank.policies import shipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(shipped("gateways"), tmp_path / "gateways"))


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments, "--policies", str(folder)])


def told(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = run(folder, *arguments, "-o", "json")
    return done.exit_code, json.loads(done.stdout)


def change(folder: Path, gateway: str, route: str, **fields: Any) -> None:
    """Give a route other fields; None takes one away."""
    file = folder / f"{gateway}.yaml"
    policy = yaml.safe_load(file.read_text(encoding="utf-8"))
    routes = policy["routes"]
    routes[route] = {name: value for name, value in (routes.get(route, {}) | fields).items() if value is not None}
    file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")


def test_a_request_is_followed_from_the_edge_to_its_service(folder: Path) -> None:
    code, answer = told(folder, "POST", "/api/marketing/content?x=1")
    edge, domain = answer["hops"]
    assert code == 0
    assert (answer["refused"], answer["status"], answer["detail"]) == (False, None, "goes to marketing-agents")
    assert (edge["gateway"], edge["listener"]["name"], edge["route"]["name"]) == ("central", "https", "marketing")
    assert (edge["follows"], edge["next"]) == ("marketing-gateway", "marketing")
    assert (domain["gateway"], domain["listener"]["name"], domain["route"]["name"]) == ("marketing", "mesh", "content")
    assert domain["asked"] == "/api/marketing/content?x=1"
    assert domain["scope"] == "marketing:write"
    assert domain["tiers"] == ["free", "business", "enterprise"]
    assert domain["body"]["schema"] == "content-request"
    assert [one["name"] for one in domain["limits"]] == ["requests", "day"]
    assert domain["limits"][1]["tiers"] == {"free": 10, "business": "unlimited", "enterprise": "unlimited"}
    assert domain["upstreams"][0]["endpoints"] == ["marketing-agents:8080"]


def test_every_route_is_named_with_its_place_in_the_file(folder: Path) -> None:
    _, answer = told(folder, "GET", "/api/marketing/content")
    for hop in answer["hops"]:
        line = Path(hop["route"]["file"]).read_text(encoding="utf-8").splitlines()[hop["route"]["line"] - 1]
        assert line.strip() == f"{hop['route']['name']}:"


def test_a_path_of_another_listener_is_404_and_the_nearest_route_says_why(folder: Path) -> None:
    code, answer = told(folder, "GET", "/api/agents/vision", "--listener", "https")
    assert (code, answer["status"], len(answer["hops"])) == (1, 404, 1)
    assert answer["hops"][0]["nearest"][0]["why_not"] == "served on internal_https, not on https"
    assert told(folder, "GET", "/api/agents/vision")[0] == 0


@pytest.mark.parametrize(
    ("path", "nearest", "why"),
    [
        ("/api/marketings", "marketing", "/api/marketing takes whole segments"),
        ("/api/Marketing/x", "marketing", "case differs"),
        ("/api/auth/refresh/x", "auth-refresh", "exact: only this path, nothing below it"),
    ],
)
def test_a_path_that_is_nearly_right_is_told_what_is_wrong(folder: Path, path: str, nearest: str, why: str) -> None:
    _, answer = told(folder, "POST", path)
    (first, *_) = answer["hops"][0]["nearest"]
    assert (first["route"], first["why_not"]) == (nearest, why)


def test_a_domain_gateway_s_404_comes_behind_the_edge_s_route(folder: Path) -> None:
    code, answer = told(folder, "GET", "/api/sales/nobody")
    assert (code, answer["status"], [hop["gateway"] for hop in answer["hops"]]) == (1, 404, ["central", "sales"])
    assert "refused by sales: 404" in run(folder, "GET", "/api/sales/nobody").stdout


def test_a_method_that_is_not_admitted_is_405_with_those_that_are(folder: Path) -> None:
    code, answer = told(folder, "get", "/api/auth/refresh")
    assert (code, answer["status"]) == (1, 405)
    assert answer["hops"][0]["method"] == {"admitted": False, "action": None, "allowed": ["POST"]}


def test_a_path_that_envoy_refuses_is_400(folder: Path) -> None:
    assert (told(folder, "GET", "/api/sales%2Fae")[0], told(folder, "GET", "/a%5Cb")[1]["status"]) == (1, 400)


def test_maintenance_and_removal_are_said_before_anything_else(folder: Path) -> None:
    change(folder, "marketing", "content", maintenance={"message": "Back soon"})
    code, answer = told(folder, "DELETE", "/api/marketing/content")
    assert (code, answer["status"], answer["detail"]) == (1, 503, "maintenance: Back soon")
    change(folder, "marketing", "content", deprecation={"since": "2026-01-01", "removed": True})
    assert told(folder, "GET", "/api/marketing/content")[1]["status"] == 410


def test_a_redirect_is_an_answer_and_no_refusal(folder: Path) -> None:
    change(folder, "marketing", "content", upstream=None, body=None, limits=[], redirect={"prefix": "/api/content"})
    code, answer = told(folder, "GET", "/api/marketing/content/7")
    assert (code, answer["status"]) == (0, 308)
    assert answer["hops"][1]["traffic"]["redirect"]["path"] == "/api/content/7"


def test_the_next_gateway_is_asked_for_the_rewritten_path(folder: Path) -> None:
    change(
        folder, "central", "old", path="/api/old", upstream="marketing-gateway", rewrite={"prefix": "/api/marketing"}
    )
    code, answer = told(folder, "GET", "/api/old/content?q=1", "--listener", "https")
    assert code == 0
    assert answer["hops"][1]["asked"] == "/api/marketing/content?q=1"
    assert answer["hops"][0]["traffic"]["rewrite"]["result"] == "/api/marketing/content"


def test_the_web_pages_that_may_call_are_those_of_the_route_or_else_of_the_listener(folder: Path) -> None:
    def origins() -> list[str]:
        _, answer = told(folder, "GET", "/api/marketing/content")
        found: list[str] = answer["hops"][0]["traffic"]["cors"]["origins"]
        return found

    assert origins() == ["https://waooaw.ai", "https://app.waooaw.ai"]
    change(folder, "central", "marketing", cors={"origins": ["https://a.test"]})
    assert origins() == ["https://a.test"]


def test_a_door_that_redirects_sends_everything_to_https(folder: Path) -> None:
    code, answer = told(folder, "GET", "/api/marketing/content", "--listener", "http")
    assert (code, answer["status"], len(answer["hops"])) == (0, 301, 1)


def test_the_edge_says_which_networks_it_and_the_route_admit(folder: Path) -> None:
    _, answer = told(folder, "GET", "/api/agents/vision")
    assert [hop["networks"] for hop in answer["hops"]] == [
        {"listener": {"internal": ["10.0.0.0/8"]}, "route": {}},
        {"listener": {}, "route": {"internal": ["10.0.0.0/8"]}},
    ]


def test_of_a_split_the_heaviest_way_is_followed_and_every_weight_is_shown(folder: Path) -> None:
    split = {"marketing-gateway": 90, "sales-gateway": 10}
    change(folder, "central", "marketing", upstream=None, split=split)
    _, answer = told(folder, "GET", "/api/marketing/content")
    assert {one["name"]: one["weight"] for one in answer["hops"][0]["upstreams"]} == split
    assert answer["hops"][1]["gateway"] == "marketing"


def test_one_may_start_at_a_gateway_of_one_s_own(folder: Path) -> None:
    _, answer = told(folder, "GET", "/api/marketing/content", "--gateway", "marketing")
    assert [hop["gateway"] for hop in answer["hops"]] == ["marketing"]


def test_a_way_that_leads_in_a_circle_ends(folder: Path) -> None:
    file = folder / "marketing.yaml"
    policy = yaml.safe_load(file.read_text(encoding="utf-8"))
    policy["authorities"]["self"] = policy["authorities"]["central"] | {
        "identities": ["spiffe://waooaw.ai/gateway/central"]
    }
    policy["upstreams"]["back"] = {"endpoints": ["central:443"], "tls": {"authority": "self"}}
    policy["routes"]["content"]["upstream"] = "back"
    file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    code, answer = told(folder, "POST", "/api/marketing/content")
    assert (code, len(answer["hops"])) == (1, 2)


@pytest.mark.parametrize(
    "arguments", [("GET", "api"), ("GET", "/", "--gateway", "nobody"), ("GET", "/", "--listener", "nobody")]
)
def test_what_cannot_be_explained_is_said_with_exit_code_2(folder: Path, arguments: tuple[str, ...]) -> None:
    done = run(folder, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


def test_every_part_of_a_route_is_shown_to_people(folder: Path) -> None:
    change(
        folder,
        "marketing",
        "content",
        mirror=[{"upstream": "marketing-agents"}],
        fault={"delay_ms": 5},
        deprecation={"since": "2026-01-01"},
        cors={"origins": ["https://a.test"]},
        local_limit={"requests_per_second": 7},
    )
    shown = run(folder, "POST", "/api/marketing/content").stdout
    for words in ("mirror", "fault", "deprecation", "cors", "local limit", "marketing:write", "content-request"):
        assert words in shown
