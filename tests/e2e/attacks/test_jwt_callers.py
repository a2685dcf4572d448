"""Good tokens in the wrong hands, of the wrong caller, twice, or where no token belongs."""

from collections.abc import Callable

import pytest

from tests.support.client import CONTENT, Client
from tests.support.evidence import Evidence
from tests.support.forging import Forge
from tests.support.raw import Door, head, send
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
CALLERS: dict[str, tuple[str, str, Callable[[Tokens, Fresh], str]]] = {
    "A10 customer's admin at the platform": (
        "/api/platform/admin/logs",
        "caller_not_admitted",
        lambda tokens, fresh: tokens.customer(sub=fresh("u"), role="admin", tier="internal", scopes=["platform:*"]),
    ),
    "A10 customer at the platform": (
        "/api/platform/metrics",
        "caller_not_admitted",
        lambda tokens, fresh: tokens.of("marketing", fresh, scopes=["platform:*", "marketing:*"]),
    ),
    "A10 admin at marketing": (PATH, "caller_not_admitted", lambda tokens, fresh: tokens.admin(fresh)),
    "A10 admin with everything at marketing": (
        PATH,
        "caller_not_admitted",
        lambda tokens, fresh: tokens.admin(fresh, role="customer", tier="enterprise", scopes=["marketing:*"]),
    ),
    "A10 student at marketing": (
        PATH,
        "caller_not_admitted",
        lambda tokens, fresh: tokens.of("marketing", fresh, role="student"),
    ),
    "A10 Customer in capitals": (
        PATH,
        "caller_not_admitted",
        lambda tokens, fresh: tokens.of("marketing", fresh, role="Customer"),
    ),
    "A10 scope of all": (PATH, "insufficient_scope", lambda tokens, fresh: tokens.of("marketing", fresh, scopes=["*"])),
    "A10 scope of all twice": (
        PATH,
        "insufficient_scope",
        lambda tokens, fresh: tokens.of("marketing", fresh, scopes=["*:*", "marketing", "marketing:", ":write"]),
    ),
    "A10 scope in capitals": (
        PATH,
        "insufficient_scope",
        lambda tokens, fresh: tokens.of("marketing", fresh, scopes=["MARKETING:*"]),
    ),
    "A13 no tier": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier=None)),
    "A13 empty tier": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier="")),
    "A13 capitals": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier="Enterprise")),
    "A13 a list": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier=["enterprise"])),
    "A13 a number": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier=1)),
    "A13 true": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier=True)),
    "A13 unlimited": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier="unlimited")),
    "A13 with a blank": (PATH, "tier_unknown", lambda tokens, fresh: tokens.of("marketing", fresh, tier="business ")),
    "A13 another gateway's": (
        PATH,
        "tier_not_admitted",
        lambda tokens, fresh: tokens.of("marketing", fresh, tier="internal"),
    ),
}


@pytest.mark.attack("A10", "A13")
@pytest.mark.requirement("R12", "R91", "R103")
@pytest.mark.parametrize("case", CALLERS)
def test_a_good_token_of_the_wrong_caller_is_refused(
    case: str, evidence: Evidence, internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    path, code, make = CALLERS[case]
    token = make(tokens, fresh)
    with evidence.attempt(token) as attempt:
        body = CONTENT if path == PATH else None
        answer = internal.call("POST" if body else "GET", path, token=token, json=body)
        attempt.refused(answer, 403, code)


KEY = "waw_live_sk_" + "A" * 20
# Header lines, the rest of the path, status, code; {good} and {other} stand for tokens that are both good.
TWICE: dict[str, tuple[list[tuple[str, str]], str, int, str]] = {
    "A12 two headers": (
        [("Authorization", "Bearer {good}"), ("Authorization", "Bearer {other}")], "", 401, "token_invalid",
    ),
    "A12 two equal headers": (
        [("Authorization", "Bearer {good}"), ("authorization", "Bearer {good}")], "", 401, "token_invalid",
    ),
    "A12 a list": ([("Authorization", "Bearer {good}, Bearer {other}")], "", 401, "token_invalid"),
    "A12 a list without blanks": ([("Authorization", "Bearer {good},{other}")], "", 401, "token_invalid"),
    "A12 a parameter": ([("Authorization", "Bearer {good} realm=x")], "", 401, "token_invalid"),
    "A12 twice the scheme": ([("Authorization", "Bearer Bearer {good}")], "", 401, "token_invalid"),
    "A12 a tab": ([("Authorization", "Bearer\t{good}")], "", 401, "token_missing"),
    "A12 another scheme": ([("Authorization", "Token {good}")], "", 401, "token_missing"),
    "A12 no scheme": ([("Authorization", "{good}")], "", 401, "token_missing"),
    "A12 in the query": ([], "?access_token={good}", 400, "credentials_in_url"),
    "A12 in the query too": ([("Authorization", "Bearer {good}")], "?access_token={other}", 400, "credentials_in_url"),
    "A12 in the query under another name": ([], "?q=1&x={good}", 400, "credentials_in_url"),
    "A12 in the path": ([], "/{good}", 400, "credentials_in_url"),
    "A12 in a cookie": ([("Cookie", "access_token={good}")], "", 401, "token_missing"),
    "A12 in another header": ([("X-Access-Token", "{good}"), ("Token", "{good}")], "", 401, "token_missing"),
    "A12 as proxy's": ([("Proxy-Authorization", "Bearer {good}")], "", 401, "token_missing"),
    "A12 with a key": (
        [("Authorization", "Bearer {good}"), ("X-Api-Key", KEY)], "", 400, "credentials_ambiguous",
    ),
}  # fmt: skip


@pytest.mark.attack("A12")
@pytest.mark.requirement("R103")
@pytest.mark.parametrize("case", TWICE)
def test_nothing_chooses_between_credentials_or_looks_for_them_elsewhere(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    lines, rest, status, code = TWICE[case]
    sent = {"good": forge.token(), "other": forge.token()}
    request = head("GET", PATH + rest.format(**sent), [(name, value.format(**sent)) for name, value in lines])
    with evidence.attempt(*sent.values()) as attempt:
        attempt.refused(send(public_door, request), status, code)
