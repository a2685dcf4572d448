"""Scores of leads: their range, their weights, and what they must not be made of."""

import pytest

from authz.reasons import Reason
from tests.unit.authz.rules.judge import judge, places

SCORED = {"type": "lead_score", "client_sets_score": True}
CREATED = {"type": "lead_score"}
FACTORS = {"company_size": 0.5, "industry": 0.3, "engagement": 0.2}


@pytest.mark.requirement("R58")
@pytest.mark.parametrize("score", [0, 1, 50, 99, 100])
def test_a_score_is_0_to_100(score: int) -> None:
    assert judge(SCORED, {"score": score, "factors": FACTORS}) is None


@pytest.mark.requirement("R58")
@pytest.mark.parametrize("score", [-1, 101, 50.0, 0.5, "50", True, None, [50], 10**20])
def test_no_other_score_is_one(score: object) -> None:
    found = judge(SCORED, {"score": score})
    assert found is not None
    assert found.reason is Reason.LEAD_SCORE_INVALID
    assert places(found) == {("/score", "range")}


@pytest.mark.requirement("R58")
@pytest.mark.parametrize("score", [0, 50, None, "50"])
def test_whoever_creates_a_lead_does_not_score_it(score: object) -> None:
    assert places(judge(CREATED, {"score": score})) == {("/score", "set_by_client")}
    assert judge(CREATED, {"factors": FACTORS}) is None


@pytest.mark.requirement("R58")
@pytest.mark.parametrize(
    ("factors", "broken"),
    [
        (FACTORS, None),
        ({"industry": 1}, None),
        ({"industry": 1.0}, None),
        ({"industry": 0, "size": 1}, None),
        ({f"f{index}": 0.1 for index in range(10)}, None),
        ({f"f{index}": 1 / 3 for index in range(3)}, None),
        ({"industry": 0.9}, "sum"),
        ({"industry": 0.6, "size": 0.6}, "sum"),
        ({"industry": 0.99999}, "sum"),
        ({}, "sum"),
        ({"industry": 1.5, "size": -0.5}, "weight"),
        ({"industry": "1"}, "weight"),
        ({"industry": True}, "weight"),
        ({"industry": None}, "weight"),
        ([0.5, 0.5], "factors"),
        ("industry", "factors"),
        (None, "factors"),
    ],
)
def test_factors_weigh_1_together(factors: object, broken: str | None) -> None:
    assert {rule for _, rule in places(judge(SCORED, {"factors": factors}))} == (set() if broken is None else {broken})


@pytest.mark.requirement("R58")
@pytest.mark.parametrize(
    "name",
    [
        "age",
        "Age",
        "GENDER",
        "customer_gender",
        "customerGender",
        "contact-age",
        "contact age",
        "contactAge",
        "marital_status",
        "sexualOrientation",
        "religion",
        "ethnic_group",
        "ｇｅｎｄｅｒ",
        "gen\u200bder",
        "gеnder",
        "a\u0301ge",
        "gen-der",
        "g e n d e r",
        "g3nder",
        "gender1",
        "gender_2",
        "customerGender2024",
    ],
)
def test_no_factor_is_a_protected_attribute(name: str) -> None:
    assert places(judge(SCORED, {"factors": {name: 1}})) == {(f"/factors/{name}", "protected_attribute")}


@pytest.mark.parametrize(
    "name",
    [
        "engagement",
        "page_views",
        "language",
        "stage",
        "manager",
        "sussex_region",
        "message",
        "p4ge_views",
    ],
)
def test_words_that_only_hold_one_pass(name: str) -> None:
    assert judge(SCORED, {"factors": {name: 1}}) is None
