"""Content and personal data in other spellings, through the gateways of education and sales."""

import base64
import json
import time

import pytest

from tests.support.client import LEAD, QUESTION, Client
from tests.support.evidence import Evidence
from tests.support.tokens import Fresh, Tokens


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SPELLINGS = {
    "A74 plain": "leaked exam paper",
    "A74 zero width": "le\u200bak\u200ded ex\u2060am pa\ufeffper",
    "A74 full width": "ｌｅａｋｅｄ ｅｘａｍ ｐａｐｅｒ",
    "A74 Cyrillic": "lеаkеd ехаm рареr",
    "A74 leet": "l34k3d 3x4m p4p3r",
    "A74 letters apart": "l e a k e d  e x a m",
    "A74 points": "l.e.a.k.e.d exam paper",
    "A74 combining marks": "le\u0301aked e\u0300xam",
    "A74 mathematical": "𝓵𝓮𝓪𝓴𝓮𝓭 𝕖𝕩𝕒𝕞",
    "A74 base64": f"decode {encoded('the leaked exam paper')} please",
    "A74 direction": "\u202eleaked\u202c exam paper",
    "A74 soft hyphens": "lea\u00adked ex\u00adam paper",
    "A74 capitals": "LEAKED EXAM PAPER",
    "A74 line ends": "leaked\r\nexam\tpaper",
}


@pytest.mark.attack("A74")
@pytest.mark.requirement("R51")
@pytest.mark.parametrize("case", SPELLINGS)
def test_refused_content_is_refused_in_every_spelling_and_repeated_nowhere(
    case: str, evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    text = SPELLINGS[case]
    body = {**QUESTION, "question": f"Please: {text}"}
    with evidence.attempt(text) as attempt:
        answer = client.call("POST", "/api/education/math", token=tokens.of("education", fresh), json=body)
        attempt.refused(answer, 422, "content_refused")


@pytest.mark.attack("A74")
@pytest.mark.requirement("R51")
@pytest.mark.parametrize(
    "text", ["a" * 1999 + "!", "leaked " * 285, "write my " * 222, "\u0301" * 1990 + "a", "(" * 2000]
)
def test_what_makes_bad_patterns_hang_is_answered(
    text: str, evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    with evidence.attempt() as attempt:
        body = {**QUESTION, "question": text}
        answer = client.call("POST", "/api/education/math", token=tokens.of("education", fresh), json=body)
        # An Envoy that waited too long for the decision would say 503.
        assert answer.status_code in {200, 422}
        attempt.judged = True


@pytest.mark.attack("A74")
@pytest.mark.requirement("R49", "R50")
def test_a_child_without_consent_is_refused_whatever_its_token_says(
    evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    born = f"{time.gmtime().tm_year - 10}-01-01"
    for claims, code in (
        ({"birthdate": born}, "consent_missing"),
        ({"birthdate": born, "parental_consent": True}, "consent_missing"),
        ({"birthdate": born, "parental_consent": "../../consent"}, "consent_missing"),
        ({"birthdate": None}, "age_unverified"),
        ({"birthdate": "2999-01-01"}, "age_unverified"),
        ({"birthdate": "1800-01-01"}, "age_unverified"),
        ({"birthdate": 2000}, "age_unverified"),
    ):
        token = tokens.of("education", fresh, **claims)
        with evidence.attempt(token) as attempt:
            answer = client.call("POST", "/api/education/math", token=token, json=QUESTION)
            attempt.refused(answer, 403, code)


HIDDEN: dict[str, dict[str, object]] = {
    "A75 a card in notes": {"notes": "card 4111 1111 1111 1111"},
    "A75 a card with letters apart": {"notes": "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"},
    "A75 a card in other digits": {"notes": "٤١١١ ١١١١ ١١١١ ١١١١"},
    "A75 a card with comments": {"notes": "4111/* x */1111/* y */11111111"},
    "A75 a card of zero widths": {"notes": "4111\u200b1111\u200b1111\u200b1111"},
    "A75 an address in the company": {"company": "ada@example.com"},
    "A75 an address that is spelt": {"notes": "ada [at] example [dot] com"},
    "A75 an IBAN": {"notes": "DE89 3704 0044 0532 0130 00"},
    "A75 a telephone number": {"notes": "call +49 30 901820"},
    "A75 a number in a factor's name": {"factors": {"ada lovelace": 1, "SSN 536-90-4399": 0}},
}


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize("case", HIDDEN)
def test_personal_data_is_found_where_it_hides_and_stands_in_no_log(
    case: str, evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    body = {**LEAD, **HIDDEN[case]}
    with evidence.attempt(*(str(value) for value in HIDDEN[case].values())) as attempt:
        answer = client.call("POST", "/api/sales/leads", token=tokens.of("sales", fresh), json=body)
        attempt.refused(answer, 422, "personal_data")


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize(
    "text", ["order 1234567890123456", "in 2025 we had 12 500 000", "ISBN 978-3-16-148410-0", "v1.2.3 at 10:00"]
)
def test_innocent_text_passes(text: str, evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    with evidence.attempt() as attempt:
        body = {**LEAD, "notes": text}
        answer = client.call("POST", "/api/sales/leads", token=tokens.of("sales", fresh), json=body)
        attempt.let_pass(answer, "sales")
        assert json.dumps(text)[1:-1] not in attempt.said()
