"""What holds of every rule, whatever a body says: no exception, no echo, and no more work than its size allows."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from authz.body_schema import BodySchema
from authz.checks.rules.age import age_at, verified_age
from authz.checks.rules.compiled import CompiledRule, compile_rule
from authz.checks.rules.folding import folded, readable, variants
from authz.checks.rules.given import Given
from authz.checks.rules.hosts import leads_outside
from authz.checks.rules.identifiers import holds
from authz.facts import Facts
from policy.rules import PersonalData
from tests.unit.authz import world
from tests.unit.authz.rules.judge import NOW, RULE, student
from tests.unit.authz.rules.shipped import gateway

# As rules meet them: what a strict reader has let through.
JSON: st.SearchStrategy[JsonValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)
SCHEMA = BodySchema({"type": "object", "properties": {"notes": {"type": "string"}}})


def _compiled() -> dict[str, CompiledRule]:
    found = {}
    for name in ("education", "sales"):
        policy = gateway(name)
        for rule_name, rule in policy.rules.items():
            found[rule_name] = compile_rule(rule_name, rule, policy.schemas_under(rule_name))
    expression = RULE.validate_python({"type": "expression", "require": "body.a == body.b || body.c.all(x, x > 0)"})
    return {**found, "expression": compile_rule("expression", expression, ())}


RULES = _compiled()


def judged(rule: str, body: JsonValue) -> str:
    """What the client is told; empty where the rule has nothing against the body."""
    given_ = Given(world.request(), student(age=9), Facts(), NOW, True, body, SCHEMA.pointer)
    breach = RULES[rule].rule.check(given_)
    if breach is None:
        return ""
    return "".join(f"{error.pointer} {error.rule}\n" for error in breach.errors) or "refused"


@given(body=JSON)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("rule", RULES)
def test_no_body_makes_a_rule_fail(rule: str, body: JsonValue) -> None:
    judged(rule, body)


MARKS = st.text("qxzj", min_size=8, max_size=12)


@pytest.mark.attack("A74", "A75")
@given(mark=MARKS, inner=JSON)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("rule", ["honesty", "privacy", "crm-record", "lead-score"])
def test_a_refusal_repeats_nothing_of_the_body(rule: str, mark: str, inner: JsonValue) -> None:
    card, leak = "4111 1111 1111 1111", "leaked exam"
    body: JsonValue = {
        f"{mark} {card}": f"{mark} {leak}",
        f"{leak} {mark}": [f"{card} {mark}", inner],
        f"gender_{mark}": mark,
        "factors": {f"gender {mark}": 2},
        "score": mark,
        "website": f"http://127.0.0.1/{mark}",
        "crm": mark,
        "religion": mark,
    }
    told = judged(rule, body)
    assert told
    assert mark not in told
    assert card not in told
    assert leak not in told


@given(text=st.text())
def test_folding_twice_is_folding_once(text: str) -> None:
    once = folded(text)
    assert folded(once) == once


@given(text=st.text(max_size=500))
def test_readings_are_no_longer_than_their_text_allows(text: str) -> None:
    # Compatibility characters stand for at most a few others each, and base64 gets shorter.
    readings = variants(text)
    assert len(readings) <= 5 * (2 + len(text) // 12)
    assert sum(map(len, readings)) <= 5 * (2 + len(text) // 12) * 8 * (len(text) + 1)
    assert len(readable(text)) <= 8 * len(text)


@given(
    before=st.text("ab ", max_size=10),
    after=st.text("ab ", max_size=10),
    gap=st.sampled_from(["\u200b", "\u00ad", "\u2060", "\u0301", "\u202e", "\ufe0f"]),
)
def test_what_is_not_seen_hides_nothing(before: str, after: str, gap: str) -> None:
    leak = gap.join("leaked") + " " + gap.join("exam")
    assert judged("honesty", {"notes": f"{before} {leak} {after}"})


@given(text=st.sampled_from(["leaked exam paper", "beat turnitin now", "write my essay for me"]), pad=st.integers(0, 2))
def test_base64_hides_nothing(text: str, pad: int) -> None:
    encoded = base64.b64encode((text + " " * pad).encode()).decode()
    assert judged("honesty", {"notes": encoded})


@given(octets=st.tuples(*[st.integers(0, 255)] * 3), style=st.tuples(*[st.sampled_from(["{}", "{:#x}", "0{:o}"])] * 4))
def test_every_spelling_of_a_loopback_address_is_refused(octets: tuple[int, ...], style: tuple[str, ...]) -> None:
    numbers = (127, *octets)
    spelt = ".".join(form.format(number) for form, number in zip(style, numbers, strict=True))
    assert not leads_outside(f"http://{spelt}/")
    whole = sum(number << (8 * (3 - place)) for place, number in enumerate(numbers))
    assert not leads_outside(f"http://{style[0].format(whole)}/")
    assert not leads_outside(f"http://[::ffff:{whole >> 16:x}:{whole & 0xFFFF:x}]/")


@given(text=st.text(max_size=300), kind=st.sampled_from(list(PersonalData)))
@settings(deadline=None)
def test_looking_for_personal_data_never_fails(text: str, kind: PersonalData) -> None:
    holds(text, kind, ("IN", "US"))


@given(claim=JSON, now=st.floats(0, 4e9))
def test_an_age_is_within_its_bounds_or_none(claim: JsonValue, now: float) -> None:
    for name in ("birthdate", "age"):
        age = verified_age(student(**{name: claim}), now)  # type: ignore[arg-type]
        assert age is None or 3 <= age <= 120


@given(birthdate=st.dates(), now=st.floats(0, 4e9))
def test_nobody_gets_younger(birthdate: object, now: float) -> None:
    assert age_at(birthdate, now) <= age_at(birthdate, now + 86_400)  # type: ignore[arg-type]
