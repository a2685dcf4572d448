"""Business rules in policy files: where they hold, and what is wrong with them, with file, line and column."""

from pathlib import Path

import pytest

from policy.kinds import Method
from policy.lint import lint
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Diagnostic, PolicyError, Source

SALES = (Path(__file__).resolve().parents[3] / "envoy" / "gateways" / "sales.yaml").read_text(encoding="utf-8")
HEAD, _, TAIL = SALES.partition("rules:\n")
_, _, REST = TAIL.partition("schemas:\n")
BARE = "".join(
    line for line in f"{HEAD}schemas:\n{REST}".splitlines(keepends=True) if not line.strip().startswith("rules: [")
)
LINES = HEAD.count("\n")


def load(rules: str, names: str = "[mine]") -> Gateway:
    text = BARE.replace("schemas:\n", f"{rules}schemas:\n", 1).replace(
        "  limits: [requests]\n", f"  limits: [requests]\n  rules: {names}\n", 1
    )
    return load_gateway(Gateway, Source("sales.yaml", text)).gateway


def wrong(rules: str, names: str = "[mine]") -> tuple[Diagnostic, ...]:
    with pytest.raises(PolicyError) as raised:
        load(rules, names)
    return raised.value.problems


def test_a_policy_without_rules_keeps_its_version() -> None:
    bare = load_gateway(Gateway, Source("sales.yaml", BARE)).gateway
    assert load("", "[]").version == bare.version
    assert load("rules:\n  mine: {type: age}\n").version != bare.version


def test_a_routes_rules_take_the_defaults_place() -> None:
    gateway = load("rules:\n  mine: {type: age}\n  other: {type: lead_score}\n")
    route = gateway.routes["leads"]
    assert gateway.rules_for(route, Method.POST) == ("mine",)
    assert gateway.rules_for(route.model_copy(update={"rules": ("other",)}), Method.POST) == ("other",)
    assert gateway.rules_for(route.model_copy(update={"rules": ()}), Method.POST) == ()
    assert gateway.rules_for(route.model_copy(update={"rules": ("other",)}), Method.GET) == ()


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("  mine: {type: agee}\n", 'found "agee"'),
        ("  mine: {}\n", "missing field"),
        ("  mine: {type: age, mode: maybe}\n", "expected off, shadow or enforce"),
        ("  mine: {type: age, consent_under: 12}\n", "at least 13"),
        ("  mine: {type: age, purposes: []}\n", "at least 1"),
        ("  mine: {type: age, child_header: X-Child}\n", "text that matches"),
        ("  mine: {type: content}\n", "missing field"),
        ("  mine: {type: content, categories: {}}\n", "at least 1"),
        ("  mine: {type: content, categories: {a: {b: '(x'}}}\n", "not a pattern of RE2: missing )"),
        ("  mine: {type: content, categories: {a: {b: '(?=x)y'}}}\n", "not a pattern of RE2"),
        ("  mine: {type: content, categories: {a: {b: 'x*'}}}\n", "matches the empty text"),
        ("  mine: {type: content, categories: {a: {b: 'xy'}}, fields: [/topik]}\n", "no schema here has /topik"),
        ("  mine: {type: personal_data, kinds: [name]}\n", "expected email, phone"),
        ("  mine: {type: personal_data, fields: {email: [email]}}\n", "text that matches"),
        ("  mine: {type: personal_data, fields: {/contact/mail: [email]}}\n", "no schema here has /contact/mail"),
        ("  mine: {type: personal_data, fields: {/company: []}, lawful_basis: /basis}\n", "no schema here has /basis"),
        ("  mine: {type: crm, system: /kind}\n", "no schema here has /kind"),
        ("  mine: {type: crm, integrations: {a: {crm: sap, tenant: x}}}\n", "expected salesforce"),
        ("  mine: {type: lead_score, factors: /weights}\n", "no schema here has /weights"),
        ("  mine: {type: expression, require: '1 + 1'}\n", "expected true or false, found int"),
        ("  mine: {type: expression, require: caller.claims.x == 1}\n", "claim x is not declared"),
    ],
)
def test_what_is_wrong_with_a_rule_is_said_where_it_stands(rules: str, message: str) -> None:
    problems = wrong(f"rules:\n{rules}")
    assert any(message in one.message for one in problems), problems
    assert {(one.position.file, one.position.line) for one in problems} == {("sales.yaml", LINES + 2)}


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("    require: caller.tier > 3\n", 0, 26),
        ("    require: 'caller.tier > 3'\n", 0, 27),
        ('    require: "caller.tier > 3"\n', 0, 27),
        ("    require: |\n      true &&\n        caller.tier > 3\n", 2, 21),
        ("    require: |\n      true &&\n      // a comment\n      caller.tier > 3\n", 3, 19),
        ("    require: >-\n      true &&\n        caller.tier > 3\n", 0, 14),
        ("    require: true &&\n      caller.tier > 3\n", 0, 14),
    ],
)
def test_an_error_in_an_expression_is_shown_inside_its_text(text: str, line: int, column: int) -> None:
    (problem,) = wrong(f"rules:\n  mine:\n    type: expression\n{text}")
    assert (problem.position.line, problem.position.column) == (LINES + 4 + line, column)
    assert "no matching overload" in problem.message


def test_a_name_that_is_no_rules_is_an_error() -> None:
    (problem,) = wrong("rules:\n  mine: {type: age}\n", "[mine, yours]")
    assert problem.message == "there is no rule named 'yours'"
    assert problem.expected == "one of: mine"


def test_a_rule_about_bodies_needs_a_schema_wherever_it_holds() -> None:
    rules = "rules:\n  mine: {type: lead_score}\n"
    assert load(rules)
    text = rules + "schemas:\n"
    assert text
    with pytest.raises(PolicyError, match="judges bodies, and none is checked for POST"):
        load_gateway(
            Gateway,
            Source(
                "sales.yaml",
                BARE.replace("schemas:\n", text, 1)
                .replace("  limits: [requests]\n", "  limits: [requests]\n  rules: [mine]\n", 1)
                .replace("    body: {POST: account}\n", "", 1),
            ),
        )


def test_ages_are_asked_of_nobody_on_a_public_route() -> None:
    text = BARE.replace("schemas:\n", "rules:\n  mine: {type: age}\nschemas:\n", 1).replace(
        "    path: /api/sales/crm\n", "    path: /api/sales/crm\n    access: public\n    rules: [mine]\n", 1
    )
    with pytest.raises(PolicyError, match="asks how old the caller is"):
        load_gateway(Gateway, Source("sales.yaml", text))


def test_a_rule_that_no_route_names_is_pointed_out() -> None:
    gateway = load("rules:\n  mine: {type: age}\n  forgotten: {type: age}\n")
    assert [(one.code, one.path) for one in lint(gateway) if one.path[0] == "rules"] == [
        ("AB501", ("rules", "forgotten"))
    ]
