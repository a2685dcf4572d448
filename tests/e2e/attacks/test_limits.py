"""Whoever wants more than his share: all at once, under other names, by being refused."""

import asyncio

import pytest

from tests.support.client import CONTENT, Client
from tests.support.evidence import Evidence
from tests.support.forging import Forge
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from tests.support.traffic import together

PATH = "/api/marketing/content"


@pytest.mark.attack("A61")
@pytest.mark.requirement("R42", "R104")
def test_a_hundred_at_once_with_one_left_admit_one(
    stack: Stack, client: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    assert {client.call("GET", PATH, token=token).status_code for _ in range(9)} == {200}
    before = evidence.hits()["marketing"]
    assert asyncio.run(together(stack, PATH, token, 100)) == {200: 1, 429: 99}
    assert evidence.hits()["marketing"] == before + 1


@pytest.mark.attack("A63")
@pytest.mark.requirement("R42", "R104")
def test_what_was_refused_for_another_reason_spends_nothing(
    client: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    for change, status in (({"tone": "angry"}, 400), ({"length": "500"}, 400), ({"admin": True}, 400)):
        for _ in range(4):
            assert client.call("POST", PATH, token=token, json={**CONTENT, **change}).status_code == status
    for _ in range(4):
        assert client.call("DELETE", PATH, token=token).status_code == 405
    statuses = [client.call("GET", PATH, token=token).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


# What a caller changes to be taken for another one, or for one of another tier.
DISGUISES: dict[str, dict[str, str]] = {
    "A71 a tier": {"x-waooaw-tier": "enterprise", "x-tier": "enterprise"},
    "A71 a subject": {"x-waooaw-subject": "somebody-else", "x-user-id": "somebody-else"},
    "A71 a tenant": {"x-waooaw-tenant": "somebody-elses", "x-tenant-id": "somebody-elses"},
    "A71 an address": {"x-forwarded-for": "192.0.2.77", "x-real-ip": "192.0.2.77"},
    "A71 a count": {"x-ratelimit-remaining": "99", "x-envoy-ratelimited": "false", "ratelimit": "99"},
    "A71 a name of the programme": {"user-agent": "somebody else/1"},
}


@pytest.mark.attack("A71")
@pytest.mark.requirement("R104")
@pytest.mark.parametrize("case", DISGUISES)
def test_no_header_gives_another_share(
    case: str, client: Client, evidence: Evidence, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    for _ in range(10):
        assert client.call("GET", PATH, token=token).status_code == 200
    with evidence.attempt(token) as attempt:
        answer = client.call("GET", PATH, token=token, headers=DISGUISES[case])
        assert (answer.status_code, answer.json()["code"]) == (429, "daily_limit_reached")
        attempt.reached_nobody()


@pytest.mark.attack("A64", "A71")
@pytest.mark.requirement("R42", "R104")
def test_another_token_or_spelling_of_the_same_caller_has_the_same_day(
    client: Client, evidence: Evidence, forge: Forge, fresh: Fresh
) -> None:
    subject = fresh("user")
    for _ in range(10):
        token = forge.token(None, sub=subject, tier="free")
        assert client.call("GET", PATH, token=token).status_code == 200
    for path in (PATH, PATH + "?x=1", PATH + "/requests/1", "/api//marketing/./content", "/api/marketing/social"):
        with evidence.attempt() as attempt:
            token = forge.token(None, sub=subject, tier="free")
            assert client.call("GET", path, token=token).status_code == 429
            attempt.reached_nobody()


@pytest.mark.attack("A64")
@pytest.mark.requirement("R104")
def test_a_tier_that_goes_up_and_down_gives_no_second_day(client: Client, forge: Forge, fresh: Fresh) -> None:
    subject = fresh("user")

    def ask(tier: str) -> int:
        return client.call("GET", PATH, token=forge.token(None, sub=subject, tier=tier)).status_code

    assert [ask("free") for _ in range(11)] == [200] * 10 + [429]
    assert [ask("business") for _ in range(3)] == [200] * 3
    assert ask("free") == 429
