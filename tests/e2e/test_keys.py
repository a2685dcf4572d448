"""Partner keys: made, used, bound to scopes and addresses, revoked, and in force on every gateway at once."""

import json
from collections.abc import Callable

import pytest

from tests.e2e.conftest import INTERNAL_ADDRESS, OUTSIDE_ADDRESS
from tests.support.client import CONTENT, Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh

Made = dict[str, str]


@pytest.fixture
def make_key(stack: Stack, fresh: Fresh) -> Callable[..., Made]:
    """Create a key as an operator would, by the command line."""

    def make(*options: str, partner: str | None = None) -> Made:
        done = stack.run("keys", "create", "--partner", partner or fresh("partner"), *options, "-o", "json")
        made: Made = json.loads(done.stdout)
        return made

    return make


@pytest.mark.requirement("R7", "R14", "R93", "R97")
def test_a_key_opens_what_its_scopes_name_at_once(client: Client, make_key: Callable[..., Made]) -> None:
    made = make_key("--scope", "partner:acme:marketing:read", partner="acme")
    assert made["key"].startswith("waw_live_sk_")
    assert len(made["key"]) == 32
    answer = client.call("GET", "/api/marketing/content", key=made["key"])
    assert answer.status_code == 200, answer.text
    seen = answer.json()["headers"]
    assert seen["x-waooaw-partner"] == "acme"
    assert seen["x-waooaw-tier"] == "business"
    assert made["key"] not in answer.text


@pytest.mark.requirement("R97")
def test_a_key_opens_nothing_that_its_scopes_do_not_name(client: Client, make_key: Callable[..., Made]) -> None:
    key = make_key("--scope", "partner:acme:marketing:read", partner="acme")["key"]
    before = client.hits("marketing"), client.hits("sales")
    write = client.call("POST", "/api/marketing/content", key=key, json=CONTENT)
    assert (write.status_code, problem(write)["code"]) == (403, "insufficient_scope")
    elsewhere = client.call("GET", "/api/sales/leads", key=key)
    assert (elsewhere.status_code, problem(elsewhere)["code"]) == (403, "insufficient_scope")
    assert (client.hits("marketing"), client.hits("sales")) == before


@pytest.mark.requirement("R97")
def test_a_scope_of_another_partner_is_worth_nothing(
    stack: Stack, client: Client, make_key: Callable[..., Made], fresh: Fresh
) -> None:
    done = stack.run(
        "keys",
        "create",
        "--partner",
        fresh("beta"),
        "--scope",
        "partner:acme:marketing:read",
        "-o",
        "json",
        check=False,
    )
    if done.returncode == 0:
        answer = client.call("GET", "/api/marketing/content", key=json.loads(done.stdout)["key"])
        assert answer.status_code == 403
    else:
        assert "partner:acme:marketing:read" in done.stderr


@pytest.mark.requirement("R14", "R106")
def test_revoked_and_unknown_keys_are_refused_alike(
    stack: Stack, client: Client, make_key: Callable[..., Made], fresh: Fresh
) -> None:
    partner = fresh("partner")
    made = make_key("--scope", f"partner:{partner}:marketing:*", partner=partner)
    assert client.call("GET", "/api/marketing/content", key=made["key"]).status_code == 200
    stack.run("keys", "revoke", made["id"])
    before = client.hits("marketing")
    answers = []
    for key in (made["key"], "waw_live_sk_" + "A" * 20, "waw_test_sk_" + "A" * 20, "short", "~" * 32):
        answer = client.call("GET", "/api/marketing/content", headers=[("x-api-key", key)])
        body = problem(answer)
        body.pop("request_id")
        answers.append((answer.status_code, json.dumps(body)))
        assert key not in answer.text
    assert set(answers) == {answers[0]}
    assert answers[0][0] == 401
    assert client.hits("marketing") == before


@pytest.mark.requirement("R13", "R65")
def test_a_key_that_is_bound_to_an_address_works_from_there_alone(
    internal: Client, outside: Client, make_key: Callable[..., Made], fresh: Fresh
) -> None:
    partner = fresh("partner")
    made = make_key("--scope", f"partner:{partner}:marketing:*", "--ip", f"{INTERNAL_ADDRESS}/32", partner=partner)
    assert internal.call("GET", "/api/marketing/content", key=made["key"]).status_code == 200
    before = outside.hits("marketing")
    for spoof in ({}, {"x-forwarded-for": INTERNAL_ADDRESS}, {"x-waooaw-client-address": INTERNAL_ADDRESS}):
        answer = outside.call("GET", "/api/marketing/content", key=made["key"], headers=spoof)
        assert answer.status_code in {401, 403}, OUTSIDE_ADDRESS
    assert outside.hits("marketing") == before


@pytest.mark.requirement("R95", "R106")
def test_a_key_is_shown_once_and_found_nowhere_else(
    stack: Stack, client: Client, make_key: Callable[..., Made], fresh: Fresh
) -> None:
    partner = fresh("partner")
    made = make_key("--scope", f"partner:{partner}:marketing:*", partner=partner)
    client.call("GET", "/api/marketing/content", key=made["key"])
    listed = stack.run("keys", "list", "-o", "json").stdout
    assert made["id"] in listed
    assert made["key"] not in listed
    secret = made["key"].encode()
    for path in stack.state_dir.rglob("*"):
        if path.is_file():
            assert secret not in path.read_bytes(), path


def test_a_key_in_the_query_is_refused(client: Client, make_key: Callable[..., Made], fresh: Fresh) -> None:
    partner = fresh("partner")
    key = make_key("--scope", f"partner:{partner}:marketing:*", partner=partner)["key"]
    before = client.hits("marketing")
    for path in (f"/api/marketing/content?api_key={key}", f"/api/marketing/content/{key}"):
        assert client.call("GET", path).status_code in {400, 401}
    assert client.hits("marketing") == before


@pytest.mark.requirement("R96")
def test_a_key_is_rotated_with_an_overlap_in_which_both_work_and_its_end_is_told_in_time(
    stack: Stack, client: Client, make_key: Callable[..., Made], fresh: Fresh
) -> None:
    partner = fresh("partner")
    old = make_key("--scope", f"partner:{partner}:marketing:*", "--expires-in-days", "3", partner=partner)
    ending = stack.run("keys", "expiring", "--days", "7", "-o", "json", check=False)
    assert (ending.returncode, old["id"] in ending.stdout, old["key"] in ending.stdout) == (1, True, False)
    new = json.loads(stack.run("keys", "rotate", old["id"], "--overlap-hours", "1", "-o", "json").stdout)
    for key in (old["key"], new["key"]):
        assert client.call("GET", "/api/marketing/content", key=key).status_code == 200
    assert old["id"] not in stack.run("keys", "expiring", "--days", "7", "-o", "json", check=False).stdout
    # The overlap ends when it is told to: at once.
    again = json.loads(stack.run("keys", "rotate", new["id"], "--overlap-hours", "0", "-o", "json").stdout)
    assert client.call("GET", "/api/marketing/content", key=new["key"]).status_code == 401
    assert client.call("GET", "/api/marketing/content", key=again["key"]).status_code == 200
