"""Bodies are checked before a service sees them: the schema of the route, strictly, and nothing that looks like it."""

import json

import pytest

from tests.support.client import CONTENT, LEAD, QUESTION, Client, problem
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
# Characters that nobody sees, and one that a reader would take for nothing.
INVISIBLE = "​‌‍⁠﻿ㅤ⠀ \t\n"
BAD = {
    "no topic": {"topic": ...},
    "empty topic": {"topic": ""},
    "invisible topic": {"topic": INVISIBLE},
    "topic of 200 characters": {"topic": "x" * 200},
    "topic that is a number": {"topic": 5},
    "unknown tone": {"tone": "angry"},
    "tone in capitals": {"tone": "CASUAL"},
    "length below": {"length": 99},
    "length above": {"length": 5001},
    "length as text": {"length": "500"},
    "length as a float": {"length": 500.0},
    "length as a boolean": {"length": True},
    "eleven keywords": {"keywords": [f"k{n}" for n in range(11)]},
    "keyword that is a number": {"keywords": [1]},
    "keywords as text": {"keywords": "ai"},
    "unknown field": {"admin": True},
}
GOOD = {
    "one character": {"topic": "é"},
    "199 characters": {"topic": "x" * 199},
    "199 code points of two units each": {"topic": "😀" * 199},
    "shortest": {"length": 100},
    "longest": {"length": 5000},
    "ten keywords": {"keywords": [f"k{n}" for n in range(10)]},
    "no keyword": {"keywords": []},
    "text that looks like SQL": {"topic": "Robert'); DROP TABLE students;--"},
}


def _changed(change: dict[str, object]) -> dict[str, object]:
    body = {**CONTENT, **change}
    return {name: value for name, value in body.items() if value is not ...}


@pytest.mark.requirement("R40", "R41", "R77", "R102")
@pytest.mark.parametrize("case", BAD)
def test_a_content_request_that_breaks_its_schema_is_refused(
    case: str, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = client.hits("marketing")
    answer = client.call("POST", PATH, token=tokens.of("marketing", fresh), json=_changed(BAD[case]))
    body = problem(answer)
    assert (answer.status_code, body["code"]) == (400, "body_invalid")
    assert body["errors"]
    assert client.hits("marketing") == before


@pytest.mark.requirement("R40", "R41", "R44", "R77", "R102")
@pytest.mark.parametrize("case", GOOD)
def test_a_content_request_within_its_schema_reaches_the_service_unchanged(
    case: str, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    import hashlib

    content = json.dumps(_changed(GOOD[case]), ensure_ascii=False).encode()
    answer = client.call(
        "POST", PATH, token=tokens.of("marketing", fresh), content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200, answer.text
    echo = answer.json()
    assert echo["body_sha256"] == hashlib.sha256(content).hexdigest()
    assert echo["status"] == "processing"
    assert echo["request_id"]


TEXT = json.dumps(CONTENT)


@pytest.mark.requirement("R40", "R102")
@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"", {"content-type": "application/json"}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (TEXT.replace("500", "NaN").encode(), {"content-type": "application/json"}, 400),
        (
            TEXT.replace('"length": 500', '"length": 500, "length": 600').encode(),
            {"content-type": "application/json"},
            400,
        ),
        (b"[" * 50_000, {"content-type": "application/json"}, 400),
        (TEXT.encode("utf-16"), {"content-type": "application/json"}, 400),
        (TEXT.encode(), {}, 415),
        (TEXT.encode(), {"content-type": "text/plain"}, 415),
        (TEXT.encode(), {"content-type": "application/jsonx"}, 415),
        (TEXT.encode(), {"content-type": "application/json; charset=utf-16"}, 415),
        (TEXT.encode(), {"content-type": "application/json", "content-encoding": "gzip"}, 415),
        (b'"' + b"x" * 70_000 + b'"', {"content-type": "application/json"}, 413),
    ],
)
def test_what_is_not_a_json_body_of_fair_size_is_refused(
    content: bytes, headers: dict[str, str], status: int, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = client.hits("marketing")
    answer = client.call("POST", PATH, token=tokens.of("marketing", fresh), content=content, headers=headers)
    assert answer.status_code == status, answer.text
    problem(answer)
    assert client.hits("marketing") == before


@pytest.mark.requirement("R48", "R55", "R66", "R76", "R77")
@pytest.mark.parametrize(
    ("gateway", "path", "good", "bad"),
    [
        ("education", "/api/education/math", QUESTION, {"grade": 13}),
        ("education", "/api/education/math", QUESTION, {"grade": 0}),
        ("education", "/api/education/math", QUESTION, {"question": INVISIBLE}),
        ("education", "/api/education/math", QUESTION, {"question": "x" * 2001}),
        ("education", "/api/education/math", QUESTION, {"name": "Ada"}),
        ("sales", "/api/sales/leads", LEAD, {"source": "dream"}),
        ("sales", "/api/sales/leads", LEAD, {"score": 100}),
    ],
)
def test_each_domain_has_its_own_schema(
    gateway: str,
    path: str,
    good: dict[str, object],
    bad: dict[str, object],
    client: Client,
    tokens: Tokens,
    fresh: Fresh,
) -> None:
    token = tokens.of(gateway, fresh)
    assert client.call("POST", path, token=token, json=good).status_code == 200
    before = client.hits(gateway)
    answer = client.call("POST", path, token=token, json={**good, **bad})
    assert (answer.status_code, problem(answer)["code"]) == (400, "body_invalid")
    assert client.hits(gateway) == before
