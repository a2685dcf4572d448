"""Who guesses is slowed down, by address; whoever has a good credential is not (attack A59)."""

import pytest

from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
# No other test calls from here: what they fail with does not count, and what fails here is nobody else's.
GUESSER = "127.0.0.59"


@pytest.mark.attack("A59")
@pytest.mark.requirement("R14", "R104")
def test_the_twenty_first_failing_credential_of_an_address_is_told_to_wait_and_a_good_one_passes(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = client.hits("marketing")
    with Client(stack.ready, address=GUESSER) as guesser:
        answers = [guesser.call("GET", PATH, key=f"waw_live_sk_{number:020}") for number in range(15)]
        answers += [guesser.call("GET", PATH, token=f"{number}.{number}.{number}") for number in range(15)]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [401] * 20 + [429] * 10
        body = problem(answers[-1])
        assert body["code"] == "too_many_failures"
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert client.hits("marketing") == before
        # Nothing at all, or a token that is only too old, is no guess.
        assert guesser.call("GET", PATH).status_code == 401
        expired = tokens.of("marketing", fresh, exp=1_700_000_000, iat=1_699_999_000)
        assert problem(guesser.call("GET", PATH, token=expired))["code"] == "token_expired"
        assert guesser.call("GET", PATH, token=tokens.of("marketing", fresh)).status_code == 200
    with Client(stack.ready, address="127.0.0.60") as neighbour:
        assert neighbour.call("GET", PATH, key="waw_live_sk_" + "0" * 20).status_code == 401
