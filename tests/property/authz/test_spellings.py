"""Other spellings of what is refused, put together at random: of a path, a header's value, a token, a key, a body."""

import json
import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from authz.pipeline import decide
from authz.reasons import Reason
from tests.unit.authz.world import API_KEY, CONTENT, NOW, facts, request, rules, token

RULES = rules()
FACTS = facts()
TOKEN = token()
# What stands between, before or after the parts of a path in other spellings.
SLASHES = (
    "/",
    "//",
    "/./",
    "/x/../",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    "/.;/",
    "/;/",
    "/x/..;/../",
    "%252f",
    "/%2e/",
    "/%2e%2e/x/",
)
ENDS = (
    "",
    "/",
    ".",
    "%20",
    "%00",
    "%09",
    ";x",
    ";",
    "%3b",
    "#",
    "%23",
    "?",
    "%3f",
    "/.",
    "/..;",
    "%",
    "%zz",
    "\t",
    "~",
    "*",
)


def spelt(character: str) -> st.SearchStrategy[str]:
    """One character, plain or encoded once or twice, or in another case or script."""
    code = f"{ord(character):02x}"
    twins = {"a": "\u0430", "e": "\u0435", "o": "\u043e", "p": "\u0440"}
    ways = (character, f"%{code}", f"%{code.upper()}", f"%25{code}", character.upper(), twins.get(character, character))
    return st.sampled_from((character,) * 12 + ways)


@st.composite
def paths(draw: st.DrawFn, plain: str) -> str:
    """A path in some spelling of it."""
    parts = ["".join(draw(spelt(character)) for character in part) for part in plain.strip("/").split("/")]
    between = draw(st.lists(st.sampled_from(("/",) * 6 + SLASHES), min_size=len(parts), max_size=len(parts)))
    return "".join(slash + part for slash, part in zip(between, parts, strict=True)) + draw(st.sampled_from(ENDS))


def readings(path: str) -> set[str]:
    """What loose readers make of a path: decoded, with other slashes, without parameters, dots resolved."""
    found = set()
    for text in (path, unquote(path), unquote(unquote(path))):
        for loose in (text, text.replace("\\", "/"), re.sub(r";[^/]*", "", text.replace("\\", "/"))):
            kept: list[str] = []
            for part in loose.lower().split("/"):
                if part == "..":
                    del kept[-1:]
                elif part not in {"", "."}:
                    kept.append(part.rstrip(" .\0\t"))
            found.add("/" + "/".join(kept))
    return found


@pytest.mark.attack("A31")
@given(
    paths("/api/marketing/admin") | paths("/api/marketing/plain/../admin"),
    st.sampled_from(["plain", "docs", "content"]),
)
@example("/api/marketing/docs/..;/admin", "docs")
@example("/api/marketing/docs/%2e%2e/admin", "docs")
def test_no_spelling_of_administration_is_decided_by_another_route(path: str, route: str) -> None:
    decision = decide(request(route, path, token=TOKEN), RULES, FACTS, NOW)
    below = RULES.routes[route].path
    assert not decision.allowed or all(one == below or one.startswith(below + "/") for one in readings(path))


@pytest.mark.attack("A12", "A55")
@given(
    st.sampled_from([TOKEN, API_KEY]),
    st.sampled_from(["", "x", "q", "a[]", "%61", "k.y"]),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from(["", "x", "a=1&", "&", ";"]),
)
def test_a_credential_in_a_query_is_seen_however_it_is_encoded(
    secret: str, name: str, encoded: list[int], before: str
) -> None:
    text = "".join(f"%{ord(each):02X}" if at in encoded else each for at, each in enumerate(secret))
    query = f"{before}&{name}={text}"
    decision = decide(request("plain", f"/api/marketing/plain?{query}", token=TOKEN), RULES, FACTS, NOW)
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.CREDENTIALS_IN_URL


ODD = st.sampled_from(list("\t\x0b\x0c \x85\u00a0\u2028\u200b\ufeff=,;\"'.-_+/é٠"))


@pytest.mark.attack("A1", "A12")
@given(st.data())
def test_no_second_spelling_of_a_token_is_taken(data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(TOKEN) - 1))
    text = TOKEN[:at] + data.draw(ODD) + TOKEN[at:]
    decision = decide(request("plain", token=text), RULES, FACTS, NOW)
    assert not decision.allowed


@pytest.mark.attack("A56")
@given(st.data())
def test_no_second_spelling_of_a_key_is_taken(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(API_KEY)))
    drop = data.draw(st.integers(0, 1))
    text = API_KEY[:at] + data.draw(ODD | st.just("")) + API_KEY[at + drop :]
    decision = decide(request("plain", key=text), RULES, FACTS, NOW)
    assert decision.allowed == (text == API_KEY)


@pytest.mark.attack("A37")
@given(
    st.dictionaries(
        st.sampled_from(
            ["x-waooaw-subject", "x-waooaw-role", "x-waooaw-tier", "x-waooaw-scopes", "x-user-id", "x-tier"]
        ),
        st.text(max_size=20),
        max_size=6,
    )
)
def test_what_a_client_claims_to_be_changes_no_decision(claims: dict[str, str]) -> None:
    plain = decide(request("plain", token=TOKEN), RULES, FACTS, NOW)
    claimed = decide(request("plain", headers=claims, token=TOKEN), RULES, FACTS, NOW)
    assert (claimed.refusal, claimed.principal) == (plain.refusal, plain.principal)


TYPES = st.sampled_from(
    ["application/json", "application", "json", "text/plain", "charset=utf-8", "charset=utf-16", "x"]
)


@pytest.mark.attack("A50")
@given(st.lists(TYPES, min_size=1, max_size=4), st.sampled_from([";", ",", "; ", " ", "/", "+", ";;", "\t;"]))
def test_a_media_type_is_read_as_a_whole(parts: list[str], between: str) -> None:
    media_type = between.join(parts)
    asked = request("content", method="POST", token=TOKEN, json_body=CONTENT)
    decision = decide(replace(asked, headers={**asked.headers, "content-type": media_type}), RULES, FACTS, NOW)
    names, _, parameters = media_type.partition(";")
    good = names.strip() == "application/json" and parameters.strip() in {"", "charset=utf-8"}
    assert not decision.allowed or good


@pytest.mark.attack("A47", "A49")
@given(st.data())
def test_a_body_that_is_cut_or_continued_is_not_taken(data: st.DataObject) -> None:
    body = json.dumps(CONTENT).encode()
    cut = data.draw(st.integers(1, len(body) - 1))
    more = data.draw(st.binary(min_size=1, max_size=6).filter(lambda octets: octets.strip(b" \t\r\n") != b""))
    for octets in (body[:cut], body[cut:], body + more, more + body):
        asked = request(
            "content", method="POST", token=TOKEN, body=octets, headers={"content-type": "application/json"}
        )
        assert not decide(asked, RULES, FACTS, NOW).allowed
