"""What is counted, once, under whose name; what is not counted at all; and that waiting as told is enough."""

import json
import time
import urllib.request
from collections.abc import Mapping
from functools import partial

import pytest

from tests.support.client import CONTENT, Client, problem
from tests.support.limits import Counters
from tests.support.raw import Door, head, send, send_http2
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
ORIGIN = "https://app.waooaw.ai"


def left(counters: Counters, subject: str) -> tuple[int, int, int]:
    """What a free caller has left: of its minute at central, and of its minute and its day at marketing."""
    ask = partial(counters.remaining, subject=subject, tier="free")
    return ask("central", "subject"), ask("marketing", "requests"), ask("marketing", "day")


# By what marketing refuses: method, headers, body, status.
REFUSED: Mapping[str, tuple[str, Mapping[str, object], Mapping[str, str], object, int]] = {
    "a scope": ("GET", {"scopes": ["sales:*"]}, {}, None, 403),
    "a role": ("GET", {"role": "student"}, {}, None, 403),
    "a body": ("POST", {}, {}, {**CONTENT, "tone": "angry"}, 400),
    "no body": ("POST", {}, {"content-type": "application/json"}, None, 400),
    "a content type": ("POST", {}, {"content-type": "text/plain"}, CONTENT, 415),
    "a method": ("PUT", {}, {}, CONTENT, 405),
    "HEAD": ("HEAD", {}, {}, None, 405),
}


@pytest.mark.requirement("R42", "R104")
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_domain_refuses_costs_nothing_there(
    case: str, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    method, claims, headers, body, status = REFUSED[case]
    subject = fresh("user")
    token = tokens.of("marketing", fresh, **{"sub": subject, "tier": "free", **claims})
    answer = client.call(method, PATH, token=token, json=body, headers=headers)
    assert answer.status_code == status
    # Central let it pass, and had no way to know.
    assert left(counters, subject) == (999, 100, 10)


@pytest.mark.requirement("R104")
def test_what_central_refuses_costs_nobody_anything(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    fleet = counters.remaining("central", "fleet")
    good = {"sub": subject, "role": "customer", "tier": "free", "scopes": ["marketing:*"]}
    assert client.call("GET", PATH).status_code == 401
    assert client.call("GET", PATH, token=tokens.mint("customer", good, expires_in=-60)).status_code == 401
    assert client.call("GET", PATH, token=tokens.customer(**{**good, "tier": "platinum"})).status_code == 403
    assert client.call("GET", "/api/nothing", token=tokens.customer(**good)).status_code == 404
    two = client.call("GET", PATH, token=tokens.customer(**good), key="wak_sk_nothing")
    assert two.status_code in {400, 401}
    assert left(counters, subject) == (1000, 100, 10)
    assert counters.remaining("central", "fleet") == fleet


@pytest.mark.requirement("R29", "R69")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_asks_for_the_head_alone_is_counted_like_the_whole(
    method: str, client: Client, counters: Counters
) -> None:
    address = f"198.51.100.{len(method)}"
    fleet = counters.remaining("central", "fleet")
    for _ in range(2):
        answer = client.call(method, "/api/platform/health", headers={"x-forwarded-for": address})
        assert answer.status_code == 200
    assert counters.remaining("central", "address", address=address) == 998
    assert counters.remaining("platform", "health", address=address) == 98
    assert counters.remaining("central", "fleet") == fleet - 2


def test_a_browsers_preflight_costs_nothing_and_the_request_after_it_one(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")
    fleet = counters.remaining("central", "fleet")
    asking = {"origin": ORIGIN, "access-control-request-method": "GET"}
    for _ in range(5):
        answer = client.call("OPTIONS", PATH, headers=asking)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    foreign = client.call("OPTIONS", PATH, headers={**asking, "origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in foreign.headers
    assert counters.remaining("central", "fleet") == fleet
    answer = client.call("GET", PATH, token=token, headers={"origin": ORIGIN})
    assert "retry-after" in answer.headers["access-control-expose-headers"]
    assert left(counters, subject) == (999, 99, 9)


@pytest.mark.requirement("R23", "R42", "R104")
def test_a_caller_is_one_over_all_its_connections_and_both_versions_of_http(
    stack: Stack, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    door = Door(stack.ready.central.https, stack.ca_file)

    def first() -> int:
        token = tokens.of("marketing", fresh, sub=subject, tier="free")
        return send(door, head("GET", PATH, [("authorization", f"Bearer {token}")])).status_code

    def second() -> int:
        token = tokens.of("marketing", fresh, sub=subject, tier="free")
        fields = [(":method", "GET"), (":path", PATH), (":scheme", "https"), (":authority", "127.0.0.1")]
        answer = send_http2(door, [*fields, ("authorization", f"Bearer {token}")])
        assert answer is not None
        return answer.status_code

    assert [ask() for ask in (first, second) * 5] == [200] * 10
    assert (first(), second()) == (429, 429)
    assert left(counters, subject)[2] == 0


@pytest.mark.requirement("R71", "R104")
@pytest.mark.parametrize("path", ["/api/marketing/ppc", "/api/marketing/brand"])
def test_whoever_waits_as_told_passes(path: str, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh)
    # Three a second: aligned to the clock at the first path, in any second at the other.
    answers = [client.call("GET", path, token=token) for _ in range(8)]
    (refused, *_) = [answer for answer in answers if answer.status_code == 429]
    assert answers.index(refused) >= 3
    assert refused.headers["retry-after"] == "1"
    time.sleep(1)
    assert client.call("GET", path, token=token).status_code == 200


@pytest.mark.requirement("R69", "R104")
def test_what_envoy_tries_again_is_counted_once(
    stack: Stack, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")

    def tries() -> int:
        url = stack.ready.gateways["marketing"].envoy_admin + "/stats?format=json&filter=nobody.upstream_rq_retry$"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return sum(int(one["value"]) for one in json.load(answer)["stats"])

    before = tries()
    answer = client.call("GET", "/api/marketing/influencer", token=token)
    assert (answer.status_code, problem(answer)["code"]) == (503, "service_unavailable")
    assert tries() == before + 3
    assert left(counters, subject) == (999, 99, 9)


def test_a_body_that_is_sent_when_it_is_asked_for_is_counted_once(
    stack: Stack, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")
    body = json.dumps(CONTENT).encode()
    fields = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "expect": "100-continue",
    }
    door = Door(stack.ready.central.https, stack.ca_file)
    with door.connect() as connection:
        connection.sendall(head("POST", PATH, fields.items()))
        assert b"100 Continue" in connection.recv(65_536)
        connection.sendall(body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200")
    assert left(counters, subject) == (999, 99, 9)


@pytest.mark.requirement("R69", "R97")
def test_a_partner_is_one_caller_over_all_its_keys(stack: Stack, client: Client, counters: Counters) -> None:
    wanted = ("keys", "create", "--partner", "acme", "--scope", "partner:acme:marketing:read", "--tier", "free")
    keys = [json.loads(stack.run(*wanted, "-o", "json").stdout)["key"] for _ in range(2)]
    statuses = [client.call("GET", PATH, key=keys[number % 2]).status_code for number in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    day = counters.usage("marketing", "day", partner="acme", tier="free")
    assert (day["remaining"], day["counted_as"]) == (0, "partner:acme")
    assert counters.remaining("marketing", "day", tenant="acme", tier="free") == 10
    assert counters.remaining("central", "subject", partner="acme", tier="free") == 988


@pytest.mark.requirement("R39", "R69")
def test_a_partner_with_a_contract_has_its_own_figure(stack: Stack, client: Client, counters: Counters) -> None:
    wanted = ("keys", "create", "--partner", "initech", "--scope", "partner:initech:marketing:read")
    key = json.loads(stack.run(*wanted, "--tier", "enterprise", "-o", "json").stdout)["key"]
    answers = [client.call("GET", PATH, key=key) for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 6 + [429]
    assert answers[-1].headers["x-ratelimit-limit"] == "6"
    assert counters.usage("marketing", "requests", partner="initech", tier="enterprise")["figure"] == 6


def test_looking_at_what_is_left_costs_nothing_by_the_command_either(
    stack: Stack, counters: Counters, tokens: Tokens, fresh: Fresh, client: Client
) -> None:
    subject = fresh("user")
    client.call("GET", PATH, token=tokens.of("marketing", fresh, sub=subject, tier="free"))
    for _ in range(2):
        question = ("limits", "usage", "marketing", "--subject", subject, "--tier", "free", "-o", "json")
        rows = {row["limit"]: row for row in json.loads(stack.run(*question).stdout)["usage"]}
        assert (rows["day"]["remaining"], rows["day"]["figure"], rows["day"]["unit"]) == (9, 10, "day")
        assert rows["requests"]["remaining"] == 99
    said = stack.run("limits", "usage", "marketing", "--limit", "hour", "--subject", subject, check=False)
    assert said.returncode == 2
    assert "day, requests" in said.stderr
    listed = stack.run("limits", "list", "marketing").stdout
    assert "daily_limit_reached" in listed
    assert counters.ask("/v1/usage", gateway="nowhere").json()["code"] == "gateway_not_found"
    assert counters.ask("/v1/usage", tier="gold").status_code == 422
