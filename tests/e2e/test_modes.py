"""Each mode on a route of its own, at both tiers: who passes, what a service hears, what is counted and recorded."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx2
import pytest

from apibank.sample_spool import kept_samples
from tests.support.backend import backend
from tests.support.client import CONTENT, Client, problem
from tests.support.published import eventually
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Fresh, Tokens

PATHS = {
    "off": "/api/marketing/seo",
    "shadow": "/api/marketing/social",
    "optional": "/api/marketing/email",
    "enforce": "/api/marketing/content",
}
MODES = """\
profile: modes
description: Three routes that clients have not moved to yet.
gateways:
  central:
    upstreams:
      backend: {endpoints: []}
    routes:
      everything-else: {path: /, listeners: [https], upstream: backend, mode: optional}
      marketing-seo: {path: /api/marketing/seo, listeners: [https], upstream: marketing-gateway, mode: off}
      marketing-social: {path: /api/marketing/social, listeners: [https], upstream: marketing-gateway, mode: shadow}
      marketing-email: {path: /api/marketing/email, listeners: [https], upstream: marketing-gateway, mode: optional}
  marketing:
    replay: {sample: 1.0, keep: 1000}
    routes:
      seo: {mode: off}
      social: {mode: shadow}
      email: {mode: optional}
"""
FORGED = {"x-waooaw-subject": "root", "x-user-id": "root", "x-waooaw-tier": "enterprise"}
EMAIL = {"campaign": "Spring", "audience": "customers", "goal": "newsletter"}


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The edge and one domain, with routes in every mode."""
    folder = tmp_path_factory.mktemp("modes")
    overlay = folder / "modes.yaml"
    overlay.write_text(MODES, encoding="utf-8")
    arguments = ("--gateways", "central,marketing", "--profile", "dev", "--profile", str(overlay))
    with backend() as port, running_stack(folder / "state", *arguments) as running:
        # A stack knows no other places than its own until it is told.
        running.run("endpoints", "set", "central", "backend", f"127.0.0.1:{port}")
        yield running


@pytest.fixture
def client(moving: Stack) -> Iterator[Client]:
    with Client(moving.ready) as one:
        yield one


@pytest.fixture(scope="module")
def tokens(moving: Stack) -> Tokens:
    return Tokens(moving.state_dir)


def heard(answer: httpx2.Response) -> dict[str, str]:
    """The headers about the caller that reached the service."""
    assert answer.status_code == 200, answer.text
    headers: dict[str, str] = answer.json()["headers"]
    assert "authorization" not in headers
    return {name: value for name, value in headers.items() if name.startswith(("x-waooaw-", "x-user-"))}


def figure(stack: Stack, name: str, **labels: str) -> float:
    total = 0.0
    for place in stack.ready.metrics:
        with urllib.request.urlopen(place, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + "{") and all(f'{key}="{value}"' in line for key, value in labels.items()):
                    total += float(line.rpartition(" ")[2])
    return total


def event_of(stack: Stack, request_id: str) -> dict[str, object] | None:
    """The event of marketing's decision on a request, once it is written."""
    lines = stack.log("gateway-marketing").splitlines()
    return next((json.loads(line) for line in lines if request_id in line and '"outcome"' in line), None)


def is_recorded(stack: Stack, request_id: str) -> bool:
    return event_of(stack, request_id) is not None


def unproven(tokens: Tokens) -> str:
    """Signed by the issuer's key, and in another issuer's name."""
    return tokens.customer(sub="mallory", role="customer", tier="enterprise", iss="https://auth.example.com")


@pytest.mark.attack("A37", "A41")
def test_off_asks_for_nothing_and_takes_no_identity_from_a_client(
    moving: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = figure(moving, "apibank_authz_off_total", gateway="marketing", route="seo")
    for token in (None, "garbage", tokens.of("marketing", fresh)):
        answer = client.call("POST", PATHS["off"], token=token, json={"not": "valid"}, headers=FORGED)
        assert heard(answer).keys() <= {"x-waooaw-client-address"}
    assert figure(moving, "apibank_authz_off_total", gateway="marketing", route="seo") == before + 3


@pytest.mark.attack("A37", "A41")
@pytest.mark.requirement("R109")
def test_shadow_lets_everything_pass_counted_by_reason_and_recorded(
    moving: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    narrow = tokens.of("marketing", fresh, scopes=["other:read"])
    for token, body, reason, identified in (
        (None, {}, "token_missing", False),
        ("garbage", {}, "token_invalid", False),
        (unproven(tokens), {}, "token_invalid", False),
        (narrow, {}, "insufficient_scope", True),
        (tokens.of("marketing", fresh, tier="platinum"), {}, "tier_unknown", True),
        (tokens.of("marketing", fresh), {"not": "valid"}, "body_invalid", True),
    ):
        labels = {"gateway": "marketing", "route": "social", "rule": "none", "reason": reason}
        before = figure(moving, "apibank_authz_shadow_total", **labels)
        answer = client.call("POST", PATHS["shadow"], token=token, json=body, headers=FORGED)
        assert ("x-waooaw-subject" in heard(answer)) == identified
        assert heard(answer).get("x-waooaw-subject") != "root"
        assert figure(moving, "apibank_authz_shadow_total", **labels) == before + 1
        request_id = answer.headers["x-request-id"]
        asyncio.run(eventually(partial(is_recorded, moving, request_id)))
        event = event_of(moving, request_id)
        assert event is not None
        assert (event["outcome"], event["reason"], event["status"]) == ("shadowed", reason, 200)


@pytest.mark.requirement("R109")
def test_step_one_stands_before_everything_and_refuses_only_a_token_that_is_not_good(
    client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    for path in ("/", "/index.html", "/legacy/orders/7?page=2", "/api/unheard-of"):
        silent = client.call("GET", path, headers={"x-waooaw-subject": "root"})
        assert silent.status_code == 200, silent.text
        assert "x-waooaw-subject" not in silent.json()["headers"]
    subject = fresh("user")
    token = tokens.customer(sub=subject, role="customer", tier="business", scopes=[])
    known = client.call("GET", "/legacy", token=token)
    assert known.json()["headers"]["x-waooaw-subject"] == subject
    for bad in ("garbage", unproven(tokens), token[:-4] + "AAAA"):
        assert problem(client.call("GET", "/legacy", token=bad))["code"] == "token_invalid"


@pytest.mark.attack("A37", "A11")
@pytest.mark.requirement("R109")
def test_optional_lets_pass_who_shows_nothing_and_refuses_who_shows_nothing_good(
    moving: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = figure(moving, "apibank_authz_optional_total", gateway="marketing", route="email")
    silent = heard(client.call("POST", PATHS["optional"], json=EMAIL, headers=FORGED))
    assert silent.keys() <= {"x-waooaw-client-address"}
    assert figure(moving, "apibank_authz_optional_total", gateway="marketing", route="email") == before + 1
    known = heard(client.call("POST", PATHS["optional"], token=tokens.of("marketing", fresh), json=EMAIL))
    assert known["x-waooaw-role"] == "customer"
    hits = client.hits("marketing")
    expired = tokens.of("marketing", fresh, exp=1_700_000_000, iat=1_699_999_000)
    for credential, wanted in (
        ({"token": "garbage"}, (401, "token_invalid")),
        ({"token": unproven(tokens)}, (401, "token_invalid")),
        ({"token": expired}, (401, "token_expired")),
        ({"headers": {"authorization": "Basic dTpw"}}, (401, "token_missing")),
        ({"key": "waw_live_sk_0123456789ABCDEFGHij"}, (401, "key_invalid")),
        ({"token": tokens.of("marketing", fresh, scopes=["other:read"])}, (403, "insufficient_scope")),
    ):
        refused = client.call("POST", PATHS["optional"], json=EMAIL, **credential)
        assert (refused.status_code, problem(refused)["code"]) == wanted
    malformed = client.call("POST", PATHS["optional"], json={"not": "valid"})
    assert (malformed.status_code, problem(malformed)["code"]) == (400, "body_invalid")
    assert client.hits("marketing") == hits


def test_beside_them_everything_else_is_enforced(client: Client) -> None:
    assert problem(client.call("POST", PATHS["enforce"], json=CONTENT))["code"] == "token_missing"


@pytest.mark.attack("A31")
@pytest.mark.parametrize("mode", ["off", "shadow", "optional"])
def test_a_path_that_two_programs_read_differently_passes_in_no_mode(mode: str, client: Client) -> None:
    hits = client.hits("marketing")
    answer = client.call("GET", PATHS[mode] + "/..%3bx/%252e%252e/content")
    assert problem(answer)["code"] == "path_invalid"
    assert client.hits("marketing") == hits


@pytest.mark.attack("A58")
def test_a_running_control_plane_explains_a_credential_and_neither_repeats_nor_counts_it(
    moving: Stack, tokens: Tokens, fresh: Fresh, tmp_path: Path
) -> None:
    file, body = tmp_path / "token", tmp_path / "body.json"
    token = tokens.of("marketing", fresh, scopes=["marketing:read"], tier="free")
    file.write_text(token, encoding="utf-8")
    body.write_text(json.dumps({"not": "valid"}), encoding="utf-8")
    counted = figure(moving, "apibank_authz_decisions_total", gateway="marketing")
    done = moving.run(
        "explain", "POST", PATHS["enforce"], "--token-file", str(file), "--body-file", str(body), "-o", "json",
        check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    edge, domain = told["hops"]
    assert edge["outcome"] == "allowed", edge
    said = {one["check"]: one.get("reason", one["said"]) for one in domain["checks"]}
    assert (said["identity"], said["scopes"], said["tier"]) == ("passed", "insufficient_scope", "passed")
    assert said["schema"] == "body_invalid"
    assert (told["refused"], told["status"], told["by"]) == (True, 403, "marketing")
    assert domain["counted_as"]["tier"] == "free"
    for part in (token, *token.split(".")):
        assert part not in done.stdout + done.stderr
        assert part not in "".join(moving.log(name) for name in ("control-plane", "gateway-marketing"))
    assert figure(moving, "apibank_authz_decisions_total", gateway="marketing") == counted


@pytest.mark.attack("A58")
@pytest.mark.requirement("R109")
def test_kept_checks_say_what_enforcing_would_refuse_before_anybody_is_refused(
    moving: Stack, client: Client, tokens: Tokens, fresh: Fresh, tmp_path: Path
) -> None:
    secret = tokens.of("marketing", fresh)
    assert client.call("POST", PATHS["shadow"] + "?page=2", json={}).status_code == 200
    assert client.call("GET", PATHS["shadow"], token=secret).status_code == 200
    folder = moving.state_dir / "samples"
    asyncio.run(eventually(lambda: len(list(kept_samples(folder, "marketing"))) >= 2))
    same = json.loads(moving.run("replay", "marketing", "-o", "json").stdout)
    assert (same["changes"], same["refuses"]) == ([], False)
    enforcing = tmp_path / "enforcing.yaml"
    enforcing.write_text(
        "profile: enforcing\ngateways: {marketing: {routes: {social: {mode: enforce}}}}\n", encoding="utf-8"
    )
    profiles = [part for one in (*moving.ready.profiles, str(enforcing)) for part in ("--profile", one)]
    done = moving.run(
        "replay", "marketing", "--policies", moving.ready.policies, *profiles, "-o", "json", check=False
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)["changes"]
    assert {one["change"] for one in found} == {"newly_refused"}
    assert ("social", "token_missing") in {(one["route"], one["after"]) for one in found}
    text = "".join(file.read_text(encoding="utf-8") for file in folder.iterdir())
    assert all(part not in text for part in (*secret.split("."), "page=2"))
    assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir())
