"""COPPA: birthdays, bounds, and consents that are on record."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from authz.checks.rules.age import age_at, verified_age
from authz.facts import Facts
from authz.principal import NOBODY, Kind, Principal
from authz.reasons import Reason
from tests.unit.authz import world
from tests.unit.authz.rules.judge import NOW, consent, consents, judge, student

AGE = {"type": "age"}


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


# Whoever is born on 23 November turns 13 when that day has begun at UTC-12, which is at noon in UTC.
@pytest.mark.requirement("R49", "R77")
@pytest.mark.parametrize(
    ("birthdate", "now", "age"),
    [
        (date(2013, 11, 23), "2026-11-22T23:59:59", 12),
        (date(2013, 11, 23), "2026-11-23T00:00:00", 12),
        (date(2013, 11, 23), "2026-11-23T11:59:59", 12),
        (date(2013, 11, 23), "2026-11-23T12:00:00", 13),
        (date(2013, 11, 23), "2026-11-23T12:00:01", 13),
        (date(2013, 11, 24), "2026-11-24T11:59:59", 12),
        (date(2013, 1, 1), "2026-01-01T11:59:59", 12),
        (date(2013, 1, 1), "2026-01-01T12:00:00", 13),
        (date(2013, 12, 31), "2026-12-31T11:59:59", 12),
        (date(2013, 12, 31), "2026-12-31T12:00:00", 13),
        # Born on 29 February: the thirteenth year is over on 1 March.
        (date(2012, 2, 29), "2025-02-28T12:00:00", 12),
        (date(2012, 2, 29), "2025-02-28T23:59:59", 12),
        (date(2012, 2, 29), "2025-03-01T11:59:59", 12),
        (date(2012, 2, 29), "2025-03-01T12:00:00", 13),
        (date(2012, 2, 29), "2028-02-29T11:59:59", 15),
        (date(2012, 2, 29), "2028-02-29T12:00:00", 16),
        (date(2012, 2, 28), "2025-02-28T12:00:00", 13),
        (date(2012, 3, 1), "2025-03-01T12:00:00", 13),
        (date(2030, 1, 1), "2026-11-23T12:00:00", -4),
    ],
)
def test_a_birthday_begins_everywhere_when_it_begins_at_utc_minus_12(birthdate: date, now: str, age: int) -> None:
    assert age_at(birthdate, at(now)) == age


@pytest.mark.parametrize(
    ("claims", "age"),
    [
        ({"birthdate": "2000-01-01"}, 27),
        ({"birthdate": "2023-12-31"}, 3),
        ({"birthdate": "2025-01-01"}, None),
        ({"birthdate": "1906-06-01"}, 120),
        ({"birthdate": "1905-01-01"}, None),
        ({"birthdate": "2099-01-01"}, None),
        ({"birthdate": "2000-13-01"}, None),
        ({"birthdate": "2001-02-29"}, None),
        ({"birthdate": "2000-1-1"}, None),
        ({"birthdate": "2000-01-01T00:00:00Z"}, None),
        ({"birthdate": "2000-01-01\n"}, None),
        ({"birthdate": "٢٠٠٠-٠١-٠١"}, None),
        ({"birthdate": "0000-01-01"}, None),
        # OpenID Connect lets the year alone, or 0000 in its place, be stated: neither is an age.
        ({"birthdate": "2000"}, None),
        ({"birthdate": "0000-05-05"}, None),
        ({"birthdate": ""}, None),
        ({"birthdate": None}, None),
        ({"birthdate": 20000101}, None),
        ({"birthdate": ["2000-01-01"]}, None),
        ({"age": 13}, 13),
        ({"age": 3}, 3),
        ({"age": 120}, 120),
        ({"age": 2}, None),
        ({"age": 121}, None),
        ({"age": -13}, None),
        ({"age": 13.0}, None),
        ({"age": "13"}, None),
        ({"age": True}, None),
        ({"age": None}, None),
        ({"age": 10**30}, None),
        ({}, None),
        # The birthdate is preferred, and `age` does not make up for one that is no date.
        ({"birthdate": "2000-01-01", "age": 5}, 27),
        ({"birthdate": "soon", "age": 30}, None),
        ({"birthdate": None, "age": 30}, None),
    ],
)
def test_an_age_is_one_that_somebody_can_have(claims: dict[str, object], age: int | None) -> None:
    assert verified_age(student(**claims), at("2027-01-15T08:00:00")) == age  # type: ignore[arg-type]


@pytest.mark.requirement("R49", "R77")
@pytest.mark.parametrize("claims", [{}, {"age": "12"}, {"birthdate": "2099-01-01"}, {"parental_consent": "c_1"}])
def test_who_states_no_age_is_refused(claims: dict[str, object]) -> None:
    found = judge(AGE, caller=student(**claims), facts=consents(consent()))  # type: ignore[arg-type]
    assert found is not None
    assert found.reason is Reason.AGE_UNVERIFIED


@pytest.mark.requirement("R49")
@pytest.mark.parametrize("age", [13, 14, 17, 18, 64, 120])
def test_from_13_on_nobody_is_asked(age: int) -> None:
    assert judge(AGE, caller=student(age=age), facts=Facts()) is None


@pytest.mark.requirement("R50", "R77")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"child": "child_2"}, Reason.CONSENT_MISSING),
        ({"expires_at": NOW}, Reason.CONSENT_MISSING),
        ({"expires_at": NOW + 0.001}, None),
        ({"granted_at": NOW + 1}, Reason.CONSENT_MISSING),
        ({"purposes": frozenset({"third_party_disclosure"})}, Reason.CONSENT_MISSING),
        ({"purposes": frozenset({"education", "third_party_disclosure"})}, None),
        ({"purposes": frozenset[str]()}, Reason.CONSENT_MISSING),
    ],
)
def test_a_child_needs_a_consent_in_force_to_what_is_done(changes: dict[str, object], reason: Reason | None) -> None:
    found = judge(AGE, caller=student(age=12), facts=consents(consent(**changes)))
    assert (found and found.reason) == reason


@pytest.mark.requirement("R50")
def test_consents_to_several_purposes_add_up() -> None:
    rule = {**AGE, "purposes": ["education", "third_party_disclosure"]}
    both = consents(consent(), consent(consent_id="c_2", purposes=frozenset({"third_party_disclosure"})))
    assert judge(rule, caller=student(age=9), facts=both) is None
    assert judge(rule, caller=student(age=9), facts=consents(consent())) is not None


@pytest.mark.requirement("R50")
@pytest.mark.parametrize(
    ("claim", "passes"),
    [("c_1", True), ("c_2", False), ("", False), (True, True), (False, True), (1, True), (None, True), (["c_1"], True)],
)
def test_the_claim_names_a_record_and_what_is_no_text_is_ignored(claim: object, passes: bool) -> None:
    held = consents(consent())
    assert (judge(AGE, caller=student(age=12, parental_consent=claim), facts=held) is None) is passes  # type: ignore[arg-type]


@pytest.mark.requirement("R50")
@pytest.mark.parametrize("claim", [True, "true", "c_1", 1, {"granted": True}])
def test_a_claim_proves_nothing_without_a_record(claim: object) -> None:
    found = judge(AGE, caller=student(age=12, parental_consent=claim), facts=consents())  # type: ignore[arg-type]
    assert found is not None
    assert found.reason is Reason.CONSENT_MISSING


@pytest.mark.parametrize("facts", [Facts(), consents(consent(), usable_until=NOW - 1)])
def test_records_that_cannot_be_had_admit_no_child(facts: Facts) -> None:
    found = judge(AGE, caller=student(age=12), facts=facts)
    assert found is not None
    assert found.reason is Reason.CONSENTS_UNAVAILABLE


@pytest.mark.requirement("R50")
@pytest.mark.parametrize(
    ("parent", "child", "age", "reason"),
    [
        ("parent_1", None, 40, None),
        ("parent_1", "child_1", 40, None),
        ("parent_1", "child_2", 40, Reason.CONSENT_MISSING),
        ("parent_2", "child_1", 40, Reason.CONSENT_MISSING),
        ("parent_1", "", 40, Reason.CONSENT_MISSING),
        ("parent_1", "child 1", 40, Reason.CONSENT_MISSING),
        ("parent_1", "child_1,child_1", 40, Reason.CONSENT_MISSING),
        ("parent_1", "child_1", 17, Reason.AGE_UNVERIFIED),
        ("parent_1", None, None, Reason.AGE_UNVERIFIED),
    ],
)
def test_a_parent_acts_only_for_children_that_it_consented_for(
    parent: str, child: str | None, age: int | None, reason: Reason | None
) -> None:
    claims = {} if age is None else {"age": age}
    headers = {} if child is None else {"x-child-subject": child}
    found = judge(
        AGE,
        caller=student(parent, role="parent", **claims),
        facts=consents(consent()),
        request=world.request(headers=headers),
    )
    assert (found and found.reason) == reason


def test_a_student_acts_for_nobody_else() -> None:
    request = world.request(headers={"x-child-subject": "child_1"})
    found = judge(AGE, caller=student("other", age=16), facts=consents(consent()), request=request)
    assert found is not None
    assert found.reason is Reason.CONSENT_MISSING


@pytest.mark.parametrize(("partners", "passes"), [(True, True), (False, False)])
def test_partner_keys_pass_where_policy_says_so(partners: bool, passes: bool) -> None:
    key = Principal(Kind.KEY, subject="acme", partner="acme")
    assert (judge({**AGE, "partners": partners}, caller=key) is None) is passes


@pytest.mark.parametrize("kind", [Kind.ANONYMOUS, Kind.SIGNATURE])
def test_whoever_is_no_person_has_no_age(kind: Kind) -> None:
    nobody = replace(NOBODY, kind=kind, claims={"age": 40})
    assert judge(AGE, caller=nobody) is not None


@pytest.mark.parametrize(("age", "passes"), [(12, False), (15, False), (16, True)])
def test_a_policy_may_ask_for_consent_up_to_a_higher_age(age: int, passes: bool) -> None:
    # GDPR Art. 8: 16, or what a member state has set.
    assert (judge({**AGE, "consent_under": 16}, caller=student(age=age), facts=consents()) is None) is passes
