"""GDPR: what has the form of personal data, where it may stand, and what is no personal data at all (attack A75)."""

import pytest

from authz.checks.rules.identifiers import MAX_CARDS, MAX_DEAR, holds, iban_length
from authz.reasons import Reason
from policy.rules import PersonalData
from tests.unit.authz.rules.judge import judge, places
from tests.unit.authz.rules.shipped import rule

REGIONS = ("IN", "US", "GB", "DE")
PRIVACY = rule("sales", "privacy")
ANYWHERE = {"type": "personal_data"}

FOUND = [
    ("email", "write to ada@example.com"),
    ("email", "ADA.LOVELACE+work@Mail.Example.CO.UK"),
    ("email", "ada [at] example [dot] com"),
    ("email", "ada(at)example.com"),
    ("email", "o'brien@example.ie"),
    ("email", "用户@例子.广告"),
    ("email", "<ada@example.com>"),
    ("email", "mailto:ada@example.com?subject=x"),
    ("email", "ａｄａ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
    ("email", "ada@exam\u200bple.com"),
    ("email", "ada@<!-- hidden -->example.com"),
    ("email", "ada<b></b>@example.com"),
    ("phone", "+49 30 901820"),
    ("phone", "+1 (212) 736-5000"),
    ("phone", "+919876543210"),
    ("phone", "phone: 98765 43210"),
    ("phone", "call me at 212-736-5000 please"),
    ("phone", "Tel. 030 901 820 00"),
    ("phone", "whatsapp 07911 123456"),
    ("phone", "+٤٩ ٣٠ ٩٠١٨٢٠"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "DE89370400440532013000"),
    ("iban", "pay to gb82 west 1234 5698 7654 32 now"),
    ("iban", "in 2024 the FR14 2004 1010 0505 0001 3M02 606 was used"),
    ("iban", "NL91ABNA0417164300"),
    ("iban", "DE89-3704-0044-0532-0130-00"),
    ("iban", "ＤＥ８９３７０４００４４０５３２０１３０００"),
    ("card", "4111111111111111"),
    ("card", "4111 1111 1111 1111"),
    ("card", "4111-1111-1111-1111"),
    ("card", "4111.1111.1111.1111"),
    ("card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
    ("card", "5555 5555 5555 4444"),
    ("card", "2223 0031 2200 3222"),
    ("card", "3782 822463 10005"),
    ("card", "6011 1111 1111 1117"),
    ("card", "3530 1113 3330 0000"),
    ("card", "3056 9309 0259 04"),
    ("card", "order 77 4111 1111 1111 1111 paid"),
    ("card", "٤١١١ ١١١١ ١١١١ ١١١١"),
    ("card", "४१११११११११११११११"),
    ("card", "４１１１１１１１１１１１１１１１"),
    ("card", "4111\u200b1111\u200b1111\u200b1111"),
    ("card", "4111\n1111\n1111\n1111"),
    ("card", "4111/* no */1111/* card */11111111"),
    ("card", "4111<!-- -->1111<!-- -->11111111"),
    ("card", "card4111111111111111!"),
    ("email", "ada@example。com"),
    ("email", "ada&#64;example.com"),
    ("email", "ada%40example.com"),
    ("email", "ada\\u0040example.com"),
    ("email", '"ada lovelace"@example.com'),
    ("email", "YWRhQGV4YW1wbGUuY29t is in base64"),
    ("email", b"ada@example.com".hex()),
    ("phone", "+49–30–901820"),
    ("phone", "+49—30—901820"),
    ("phone", "+49‑30‑901820"),
    ("phone", "+49·30·901820"),
    ("phone", "%2B4930901820"),
    ("phone", "&plus;4930901820"),
    ("phone", "phone 0049 30 901820"),
    ("iban", "DE89 3704–0044 0532 0130 00"),
    ("card", "4111–1111–1111–1111"),
    ("card", "4111—1111—1111—1111"),
    ("card", "4111‑1111‑1111‑1111"),
    ("card", "4111−1111−1111−1111"),
    ("card", "4111·1111·1111·1111"),
    ("card", "4111•1111•1111•1111"),
    ("card", "4111❤1111❤1111❤1111"),
    ("card", "4111📄1111📄1111📄1111"),
    ("card", "4111      1111      1111      1111"),
    ("card", "4111&nbsp;1111&nbsp;1111&nbsp;1111"),
    ("card", "4111%201111%201111%201111"),
    ("card", "4111\\u00201111 1111 1111"),
    ("card", "NDExMTExMTExMTExMTExMQ=="),
    ("national_id", "SSN 536–90–4399"),
    ("national_id", "ssn 536 90 4399"),
    ("national_id", "SSN: 536.90.4399"),
    ("national_id", "2345–6789–0124"),
    ("national_id", "CPF 390 533 447 05"),
    ("national_id", "2345 6789 0124"),
    ("national_id", "aadhaar number 234567890124"),
    ("national_id", "PAN ABCPE1234F"),
    ("national_id", "SSN 536-90-4399"),
    ("national_id", "social security: 536904399"),
    ("national_id", "AB 12 34 56 C"),
    ("national_id", "NHS 943 476 5919"),
    ("national_id", "Steuer-ID 36 574 261 809"),
    ("national_id", "2 95 10 99 126 111 93"),
    ("national_id", "DNI 54362315K"),
    ("national_id", "X-2482300-W"),
    ("national_id", "RCCMNL83S18D969H"),
    ("national_id", "BSN 111222333"),
    ("national_id", "CPF 390.533.447-05"),
]
INNOCENT = [
    "What is a group?",
    "order 1234567890123456",
    "4111 1111 1111 1112",
    "2026-11-23T10:00:00Z",
    "23/11/2026 10:00",
    "call 2026-11-23 at 10:00",
    "call us at 9 to 5, 7 days a week",
    "call it 3.14159265358979",
    "ISBN 978-3-16-148410-0",
    "EAN 4006381333931",
    "IMEI-like 35-209900-176148-1 part",
    "550e8400-e29b-41d4-a716-446655440000",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "d41d8cd98f00b204e9800998ecf8427e",
    "v1.2.3-rc.4",
    "192.168.0.1 and 10.0.0.1",
    "2001:db8::1",
    "price 1,000,000.00 EUR",
    "12 500 000 in 2025 and 13 000 000 in 2026",
    "logo@2x.png",
    "icon@3x.webp",
    "@handle and #tag",
    "meet @ noon",
    "a@b",
    "x = a @ b.T",
    "1732333345000",
    "1732333345123456",
    "tracking 1Z999AA10123456784",
    "US12 and DE34 product lines",
    "DE00 3704 0044 0532 0130 00",
    "XX89 3704 0044 0532 0130 00",
    "INVOICE-2026-000123",
    "SKU AB12345678",
    "room 101, floor 3",
    "GPS 52.520008, 13.404954",
    "3/4 of 120 employees",
    "RFC 9110 and RFC 9457",
    "section 12345678 of the code",
    "0000 0000 0000 0000",
    "1111 2222 3333",
    "000-12-3456",
    "078-05-1120",
    "ABCCE1234F is a company's PAN",
    "phone number: none",
    "mobile first",
    "Q3/2026: +12.5 %",
    "C++17 and C++20",
    "+1 for this idea",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "4000, 4200, 4500 and 5000 units",
    "2026–11–23, 10–12 o’clock",
    "pages 123–130, 200–210; items 5•6•7",
    "50 % — 60 % → 12°C × 3 ± 0.5",
    "https://example.com/a%20b?page=2&size=100#part-3",
    "2001:4860:4860::8888 and fe80::1",
    "aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "0049301234 is a part number",
    "find us @ example.com",
    "look at the dot com boom",
    "ISBN 9783161484100",
    "version 10.0.19045.3693",
    "$1,234,567.89 and 1.234.567,89 €",
    "1e15, 6.02214076e23",
    "lat=52.520008&lon=13.404954",
]


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize(("kind", "text"), FOUND)
def test_what_has_the_form_of_personal_data_is_found(kind: str, text: str) -> None:
    found = judge(ANYWHERE, {"notes": text})
    assert found is not None
    assert found.reason is Reason.PERSONAL_DATA
    assert ("/notes", kind) in places(found)


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize("text", INNOCENT)
def test_what_only_looks_like_it_passes(text: str) -> None:
    assert places(judge(ANYWHERE, {"notes": text})) == set()


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"a": {"b": [{"c": "ada@example.com"}]}}, ("/a/b/0/c", "email")),
        ({"ada@example.com": 1}, ("/ada@example.com", "email")),
        ({"a": {"4111 1111 1111 1111": {}}}, ("/a/4111 1111 1111 1111", "card")),
        ({"pan": 4111111111111111}, ("/pan", "card")),
        ({"phone": "9876543210"}, ("/phone", "phone")),
        ({"customerPhone": 9876543210}, ("/customerPhone", "phone")),
        ({"contact": {"mobile": ["98765 43210"]}}, ("/contact/mobile/0", "phone")),
        ({"ssn": "536904399"}, ("/ssn", "national_id")),
        ({"aadhaar_no": 234567890124}, ("/aadhaar_no", "national_id")),
        ({"pan": 4111111111111111.0}, ("/pan", "card")),
        (["x", "ada@example.com"], ("/1", "email")),
        ("ada@example.com", ("", "email")),
    ],
)
def test_it_is_found_at_any_depth_in_names_and_in_numbers(body: object, place: tuple[str, str]) -> None:
    assert place in places(judge(ANYWHERE, body))


@pytest.mark.parametrize(
    "body",
    [
        {"invoice_number": "9876543210"},
        {"signal": 9876543210, "text": "9876543210", "call": 9876543210},
        {"id": 536904399, "total": 234567890124, "created_at": 1732333345000},
        {"cellar": "9876543210", "telemetry": 9876543210},
    ],
)
def test_a_number_is_nobodys_where_its_name_does_not_say_so(body: object) -> None:
    assert places(judge(ANYWHERE, body)) == set()


GOOD_LEAD = {
    "company": "Acme",
    "source": "web",
    "contact": {"name": "Ada", "email": "ada@example.com", "phone": "+49 30 901820"},
    "lawful_basis": "contract",
}


@pytest.mark.requirement("R56")
def test_declared_fields_with_a_lawful_basis_may_hold_it() -> None:
    assert judge(PRIVACY, GOOD_LEAD) is None
    assert judge(PRIVACY, {"company": "Acme", "source": "web"}) is None


@pytest.mark.requirement("R56")
@pytest.mark.parametrize("basis", [None, "", "legitimate interest", "Consent", "because", 1, True, ["consent"], {}])
def test_without_a_lawful_basis_it_may_not(basis: object) -> None:
    found = judge(PRIVACY, {**GOOD_LEAD, "lawful_basis": basis})
    assert found is not None
    assert found.reason is Reason.LAWFUL_BASIS_MISSING
    assert places(found) == {("/lawful_basis", "lawful_basis")}


@pytest.mark.parametrize(
    "basis",
    ["consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interest"],
)
def test_every_basis_of_article_6_is_one(basis: str) -> None:
    assert judge(PRIVACY, {**GOOD_LEAD, "lawful_basis": basis}) is None


@pytest.mark.parametrize(
    ("contact", "place"),
    [
        ({"email": "4111 1111 1111 1111"}, ("/contact/email", "card")),
        ({"phone": "ada@example.com"}, ("/contact/phone", "email")),
        ({"name": "ada@example.com"}, ("/contact/name", "email")),
        ({"email": "DE89370400440532013000"}, ("/contact/email", "iban")),
        ({"other": "ada@example.com"}, ("/contact/other", "email")),
    ],
)
def test_a_declared_field_holds_what_it_is_declared_for(contact: object, place: tuple[str, str]) -> None:
    assert place in places(judge(PRIVACY, {**GOOD_LEAD, "contact": contact}))


@pytest.mark.attack("A75")
@pytest.mark.requirement("R56")
@pytest.mark.parametrize(
    "body",
    [
        {"religion": "x"},
        {"Religion": "x"},
        {"blood-type": "x"},
        {"bloodType": "x"},
        {"customerBloodTypeCode": "x"},
        {"contact": {"health_condition": None}},
        {"ｒｅｌｉｇｉｏｎ": 1},
        {"reli\u200bgion": 1},
        {"rеligion": 1},
        {"reli-gion": 1},
        {"r3ligion": 1},
        {"religion1": 1},
        {"r e l i g i o n": 1},
        {"HEALTH2CONDITION": 1, "religion_2": 1},
        {"notes": "she was dia-gnosed with asthma"},
        {"notes": "di@gn0sed w1th asthma"},
        {"notes": "diag<b></b>nosed&nbsp;with asthma"},
        {"notes": "She was diagnosed with diabetes"},
        {"notes": "he is HIV-positive"},
        {"notes": "IS PREGNANT"},
        {"notes": ["a trade union member"]},
        {"notes": "has a criminal\u200b record"},
        {"is pregnant": True, "sexual_orientation": 1},
    ],
)
def test_special_categories_are_refused_even_with_a_basis(body: dict[str, object]) -> None:
    found = judge(PRIVACY, {**body, "lawful_basis": "consent"})
    assert found is not None
    assert found.reason is Reason.PERSONAL_DATA
    assert {rule for _, rule in places(found)} == {"special_category"}


@pytest.mark.parametrize(
    "body",
    [
        {"notes": "a healthcare company that sells diagnostics"},
        {"notes": "our union of two products"},
        {"industry": "religious book trade"},
        {"racecar": 1, "healthcheck": 1, "embrace": 1},
        {"notes": "the race for the best price"},
    ],
)
def test_words_that_only_sound_like_them_pass(body: dict[str, object]) -> None:
    assert judge(PRIVACY, body) is None


def test_a_text_with_more_candidates_than_are_looked_at_is_refused() -> None:
    numbers = " ".join(f"+9{index:09}" for index in range(MAX_DEAR + 1))
    assert holds(numbers, PersonalData.PHONE, REGIONS)
    cards = " x ".join("4111111111111112" for _ in range(MAX_CARDS + 1))
    assert holds(cards, PersonalData.CARD, REGIONS)


@pytest.mark.parametrize(("country", "length"), [("DE", 22), ("GB", 22), ("NO", 15), ("MT", 31), ("US", 0), ("XX", 0)])
def test_ibans_have_their_countrys_length(country: str, length: int) -> None:
    assert iban_length(country) == length


def test_kinds_that_policy_does_not_name_are_not_searched() -> None:
    rule = {"type": "personal_data", "kinds": ["card"]}
    assert judge(rule, {"notes": "ada@example.com"}) is None
    assert judge(rule, {"notes": "4111111111111111"}) is not None
