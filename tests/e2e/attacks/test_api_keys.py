"""Partner keys where none belongs, of another form, of nobody, and of another partner."""

import json
from collections.abc import Callable

import pytest

from tests.support.client import CONTENT
from tests.support.evidence import Answered, Evidence
from tests.support.raw import Door, head, send
from tests.support.stack import Stack

PATH = "/api/marketing/content"


@pytest.fixture(scope="module")
def acme(stack: Stack) -> str:
    """A live key that reads marketing for acme."""
    done = stack.run(
        *(
            "keys",
            "create",
            "--partner",
            "acme-attacked",
            "--scope",
            "partner:acme-attacked:marketing:read",
            "-o",
            "json",
        )
    )
    return str(json.loads(done.stdout)["key"])


# Header lines and the rest of the path; {key} stands for a key that is good.
PLACES: dict[str, tuple[list[tuple[str, str]], str, int, str]] = {
    "A55 query": ([], "?api_key={key}", 400, "credentials_in_url"),
    "A55 query under another name": ([], "?a=1&q={key}", 400, "credentials_in_url"),
    "A55 query by its name alone": ([], "?apikey=anything", 400, "credentials_in_url"),
    "A55 query in other letters": ([], "?X-API-Key=anything", 400, "credentials_in_url"),
    "A55 query encoded": ([], "?q={encoded}", 400, "credentials_in_url"),
    "A55 query beside a good header": ([("X-Api-Key", "{key}")], "?key={key}", 400, "credentials_in_url"),
    "A55 path": ([], "/{key}", 400, "credentials_in_url"),
    "A55 path as a parameter": ([], "/a={key}", 400, "credentials_in_url"),
    "A55 cookie": ([("Cookie", "api_key={key}; x-api-key={key}")], "", 401, "token_missing"),
    "A55 referer": ([("Referer", "https://x.example/?api_key={key}")], "", 401, "token_missing"),
    "A55 Authorization": ([("Authorization", "{key}")], "", 401, "token_missing"),
    "A55 Bearer": ([("Authorization", "Bearer {key}")], "", 401, "token_invalid"),
    "A55 ApiKey": ([("Authorization", "ApiKey {key}")], "", 401, "token_missing"),
    "A55 Basic": ([("Authorization", "Basic {key}")], "", 401, "token_missing"),
    "A55 another header": ([("Api-Key", "{key}"), ("X-Key", "{key}"), ("Apikey", "{key}")], "", 401, "token_missing"),
    "A55 twice": ([("X-Api-Key", "{key}"), ("X-Api-Key", "{key}")], "", 401, "key_invalid"),
    "A55 a list": ([("X-Api-Key", "{key}, {key}")], "", 401, "key_invalid"),
    "A55 with a scheme": ([("X-Api-Key", "Bearer {key}")], "", 401, "key_invalid"),
}


@pytest.mark.attack("A55")
@pytest.mark.requirement("R14", "R95", "R106")
@pytest.mark.parametrize("case", PLACES)
def test_a_good_key_in_another_place_opens_nothing(case: str, acme: str, evidence: Evidence, public_door: Door) -> None:
    lines, rest, status, code = PLACES[case]
    sent = {"key": acme, "encoded": "".join(f"%{ord(letter):02x}" for letter in acme)}
    request = head("GET", PATH + rest.format(**sent), [(name, value.format(**sent)) for name, value in lines])
    with evidence.attempt(acme, sent["encoded"]) as attempt:
        attempt.refused(send(public_door, request), status, code)


def swapped(key: str) -> str:
    return key[:12] + key[12:].swapcase()


FORMS: dict[str, Callable[[str], str]] = {
    "A56 unknown": lambda key: "waw_live_sk_" + "A" * 20,
    "A56 test": lambda key: key.replace("live", "test"),
    "A56 one letter less": lambda key: key[:-1],
    "A56 one letter more": lambda key: key + "A",
    "A56 another last letter": lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
    "A56 another first letter": lambda key: key[:12] + ("A" if key[12] != "A" else "B") + key[13:],
    "A56 the beginning": lambda key: key[:20],
    "A56 the prefix": lambda key: "waw_live_sk_",
    "A56 without its prefix": lambda key: key[12:],
    "A56 capitals and small letters exchanged": swapped,
    "A56 the prefix in capitals": lambda key: key[:12].upper() + key[12:],
    "A56 blanks inside": lambda key: key[:12] + " " + key[12:],
    "A56 a quote": lambda key: f'"{key}"',
    "A56 SQL": lambda key: "waw_live_sk_' OR '1'='1",
    "A56 a pattern": lambda key: "waw_live_sk_%%%%%%%%%%%%%%%%%%%%",
    "A56 a star": lambda key: "waw_live_sk_" + "*" * 20,
    "A56 8 KB": lambda key: "waw_live_sk_" + "A" * 8000,
    "A56 other letters": lambda key: "waw_live_sk_" + "\xe9" * 20,
    "A56 the hash": lambda key: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "A56 zeros": lambda key: "0" * 32,
}


@pytest.mark.attack("A56")
@pytest.mark.requirement("R14", "R93", "R106")
@pytest.mark.parametrize("case", FORMS)
def test_a_key_that_is_not_live_to_the_letter_is_invalid(
    case: str, acme: str, evidence: Evidence, public_door: Door
) -> None:
    key = FORMS[case](acme)
    if key == acme:
        pytest.skip("a key without letters")
    with evidence.attempt(key) as attempt:
        answer = send(public_door, head("GET", PATH, [("X-Api-Key", key)]))
        if "\xe9" in key and answer.status_code == 400:
            attempt.reached_nobody()
            return
        attempt.refused(answer, 401, "key_invalid")


@pytest.mark.attack("A56", "A60")
@pytest.mark.requirement("R106")
def test_no_answer_tells_how_near_a_key_was(acme: str, evidence: Evidence, public_door: Door) -> None:
    shown: list[tuple[int, dict[str, object], dict[str, str]]] = []
    for case in ("A56 unknown", "A56 test", "A56 another last letter", "A56 8 KB", "A56 SQL"):
        with evidence.attempt() as attempt:
            answer: Answered = send(public_door, head("GET", PATH, [("X-Api-Key", FORMS[case](acme))]))
            attempt.refused(answer, 401, "key_invalid")
        kept = {name: text for name, text in answer.headers.items() if name not in {"x-request-id", "date"}}
        shown.append((answer.status_code, {**answer.json(), "request_id": ""}, kept))
    assert all(one == shown[0] for one in shown)


@pytest.mark.attack("A57")
@pytest.mark.requirement("R97")
@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", PATH, 403, "insufficient_scope"),
        ("GET", "/api/sales/leads", 403, "insufficient_scope"),
        ("GET", "/api/platform/admin/logs", 401, "token_missing"),
        ("GET", "/api/education/math", 403, "insufficient_scope"),
    ],
)
def test_a_key_opens_what_its_scope_names_and_nothing_else(
    method: str, path: str, status: int, code: str, acme: str, evidence: Evidence, stack: Stack
) -> None:
    door = Door(stack.ready.central.https, stack.ca_file, address="127.0.0.2")
    body = json.dumps(CONTENT).encode() if method == "POST" else b""
    lines = [("X-Api-Key", acme), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    with evidence.attempt(acme) as attempt:
        attempt.refused(send(door, head(method, path, lines if body else lines[:1]) + body), status, code)


@pytest.mark.attack("A57")
@pytest.mark.requirement("R97")
def test_the_key_that_the_others_are_made_of_is_good(acme: str, evidence: Evidence, public_door: Door) -> None:
    claims = [("X-Waooaw-Partner", "beta"), ("X-Waooaw-Scopes", "partner:beta:marketing:*")]
    with evidence.attempt(acme) as attempt:
        answer = send(public_door, head("GET", PATH, [("X-Api-Key", acme), *claims]))
        echo = attempt.let_pass(answer, "marketing")
        assert echo["headers"]["x-waooaw-partner"] == "acme-attacked"
        assert acme not in json.dumps(echo)
