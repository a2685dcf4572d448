"""A revoked token is refused by every gateway when the command returns, and nobody else's is (attack A17)."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"


def code_of(client: Client, token: str) -> object:
    answer = client.call("GET", PATH, token=token)
    return None if answer.status_code == 200 else (answer.status_code, problem(answer)["code"])


@pytest.mark.attack("A17")
@pytest.mark.requirement("R12", "R103")
def test_a_revoked_token_is_refused_at_once_and_its_subjects_other_token_is_not(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh, tmp_path: Path
) -> None:
    subject = fresh("user")
    lost, other = (tokens.of("marketing", fresh, sub=subject) for _ in range(2))
    assert [code_of(client, each) for each in (lost, other)] == [None, None]
    file = tmp_path / "token"
    file.write_text(lost, encoding="utf-8")
    record = json.loads(
        stack.run("tokens", "revoke", "--token-file", str(file), "--reason", "lost", "-o", "json").stdout
    )
    # Every gateway's process said so before the command returned.
    assert {one.partition("@")[0] for one in record["in_force_on"]} == {"central", *stack.ready.gateways}
    before = client.hits("marketing")
    assert code_of(client, lost) == (401, "token_invalid")
    assert client.hits("marketing") == before
    assert code_of(client, other) is None
    assert record["id"] in stack.run("tokens", "revocations").stdout
    stack.run("tokens", "restore", record["id"])
    assert code_of(client, lost) is None


@pytest.mark.attack("A17")
@pytest.mark.requirement("R12", "R103")
def test_all_tokens_that_a_subject_has_are_refused_and_one_that_is_issued_later_is_not(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    subject, now = fresh("user"), int(time.time())
    held = [tokens.of("marketing", fresh, sub=subject, iat=now - age, exp=now - age + 3600) for age in (0, 60, 3000)]
    held = [tokens.of("marketing", fresh, sub=subject), *held]
    stranger = tokens.of("marketing", fresh)
    assert [code_of(client, each) for each in (*held, stranger)] == [None] * 5
    stack.run("tokens", "revoke", "--issuer", "customer", "--sub", subject, "--reason", "laptop stolen")
    assert [code_of(client, each) for each in held] == [(401, "token_invalid")] * 4
    assert code_of(client, stranger) is None
    # Within the leeway for clocks that differ: signed in again a second later.
    assert code_of(client, tokens.of("marketing", fresh, sub=subject, iat=int(time.time()) + 2)) is None


def test_an_issuer_that_no_policy_knows_is_an_error_and_not_a_silent_nothing(stack: Stack) -> None:
    done = stack.run("tokens", "revoke", "--issuer", "nobody", "--jti", "t", "--reason", "x", check=False)
    assert done.returncode != 0
    assert "https://auth.waooaw.ai" in done.stderr


def test_a_token_is_taken_from_standard_input_and_printed_nowhere(stack: Stack, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh)
    command = [sys.executable, "-m", "apibank", "tokens", "revoke", "--token-file", "-", "--reason", "x"]
    done = subprocess.run(
        [*command, "--state-dir", str(stack.state_dir)], input=token, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert token not in done.stdout + done.stderr
