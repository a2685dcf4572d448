"""Expressions that teams write: what they see, what is an error when they are loaded, and what they cost."""

import pytest

from authz.principal import Kind, Principal
from authz.reasons import Reason
from policy.expressions import EvaluationError, ExpressionError, Inputs, compile_expression, reads_body
from tests.unit.authz import world
from tests.unit.authz.rules.judge import judge

CALLER = Principal(
    Kind.TOKEN,
    subject="user_1",
    role="company",
    tier="business",
    tenant="acme",
    scopes=frozenset({"sales:read", "sales:write"}),
    claims={"department": "finance", "level": 3, "secret": "x"},
)
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amount", "name"],
    "properties": {
        "amount": {"type": "integer"},
        "name": {"type": "string"},
        "note": {"type": "string"},
        "items": {"type": "array"},
    },
}
BODY = {"amount": 500, "name": "Acme", "items": [1, 2, 3]}


def holds(text: str, body: object = BODY, **options: object) -> bool:
    rule = {"type": "expression", "require": text, "claims": ["department", "level"], **options}
    request = world.request("content", "/api/marketing/content?a=1&a=2&b=", method="POST")
    found = judge(rule, body, caller=CALLER, schemas=[SCHEMA], request=request)  # type: ignore[list-item]
    assert found is None or (found.reason is Reason.RULE_REFUSED and not found.errors)
    return found is None


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("true", True),
        ("false", False),
        ("body.amount <= 500", True),
        ("body.amount > 500", False),
        ("body.name == 'Acme'", True),
        ("has(body.note)", False),
        ("!has(body.note) || body.note.size() < 10", True),
        ("request.method == 'POST'", True),
        ("request.path.startsWith('/api/marketing/')", True),
        ("request.route == 'content'", True),
        ("request.query['a'] == ['1', '2'] && request.query.b[0] == ''", True),
        ("'c' in request.query", False),
        ("caller.kind == 'token' && caller.role == 'company'", True),
        ("caller.tier in ['business', 'enterprise']", True),
        ("caller.tenant == 'acme'", True),
        ("'sales:write' in caller.scopes", True),
        ("caller.claims.department == 'finance'", True),
        ("caller.claims.level >= 3", True),
        ("'secret' in caller.claims", False),
        ("body.items.all(x, x > 0)", True),
        ("body.items.exists(x, x > 3)", False),
        ("size(body.items) == 3", True),
        ("body.name.matches('^[A-Z][a-z]+$')", True),
        ("body.name.matches('^(a+)+$')", False),
        ("request.time > timestamp('2026-01-01T00:00:00Z')", True),
        ("request.time.getFullYear() == 2027", True),
        ("true // a comment", True),
    ],
)
def test_it_sees_request_caller_and_body(text: str, result: bool) -> None:
    assert holds(text) is result


@pytest.mark.parametrize(
    "text",
    [
        "body.note == 'x'",
        "body.items[5] == 1",
        "body.items[0] / 0 == 1",
        "body.items[0] == 'x' || body.items > 3",
        "request.query['c'][0] == 'x'",
        "body.items.all(x, x.size() > 0)",
        "dyn(body.amount)",
    ],
)
def test_what_comes_to_no_result_refuses(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("body.amount >", (1, 14), "Syntax error"),
        ("request.methd == 'POST'", (1, 8), "undeclared reference to 'request.methd'"),
        ("caller.sub == 'x'", (1, 7), "undeclared reference to 'caller.sub'"),
        ("true &&\n  caller.tier > 3", (2, 15), "no matching overload"),
        ("body.amount == 'x'", (1, 13), "no matching overload"),
        ("body.amont > 3", (1, 6), "no schema here has a field amont"),
        ("1 + 1", (1, 1), "expected true or false, found int"),
        ("caller.claims.department == 'x' && caller.claims.team == 'y'", (1, 50), "claim team is not declared"),
        ("body.name.matches(body.name)", (1, 11), "a pattern that is written here"),
        ("matches(body.name, 'x')", (1, 1), "a pattern that is written here"),
        ("body.name.matches('a' + body.name)", (1, 11), "a pattern that is written here"),
        ("body.name.matches('a'.contains(body.name) ? 'a' : body.name)", (1, 11), "a pattern that is written here"),
        ("r'\\' != body.name && body.name.matches(body.name) || 'y' == 'x'", (1, 32), "a pattern that is written here"),
        ('R"\\" != body.name && body.name.matches(body.name) || "y" == "x"', (1, 32), "a pattern that is written here"),
        ("true &&\n body.name.matches('a(')", (2, 20), "not a pattern of RE2"),
        ("body.name.matches('(a{1,1000}){1,1000}')", (1, 19), "not a pattern of RE2"),
        (
            "body.items.all(a, body.items.all(b, body.items.all(c, body.items.all(d, a+b+c+d > 0))))",
            (1, 1),
            "at most 3",
        ),
        ("unknown(3)", (1, 8), "undeclared reference to 'unknown'"),
        ("environ == 'x'", (1, 1), "undeclared reference"),
        ("", (1, 1), ""),
    ],
)
def test_what_is_wrong_with_it_is_said_when_it_is_loaded(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compile_expression(text, ["department"], [SCHEMA])  # type: ignore[list-item]
    assert message in str(raised.value)
    assert raised.value.place == place


def test_without_a_schema_in_question_any_field_may_be_named() -> None:
    assert compile_expression("body.whatever == 1").macros == 0
    open_schema = {"type": "object", "properties": {"a": {}}}
    assert compile_expression("body.b == 1", (), [open_schema]).typed == ()  # type: ignore[list-item]


def test_a_field_is_typed_where_every_schema_demands_it_alike() -> None:
    other = {**SCHEMA, "required": ["amount"]}
    assert compile_expression("body.amount > 1", (), [SCHEMA, other]).typed == ("amount",)  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("body.amount > 1", True),
        ("size(body) > 1", True),
        ("request.method == 'POST'", False),
        ("caller.role == 'body'", False),
        ('caller.role == "body.x" // body', False),
        ("r'\\' != caller.role || body.amount > 1 || 'y' == 'x'", True),
        ("caller.claims.body == 1", False),
    ],
)
def test_whether_it_reads_the_body_is_known_from_its_text(text: str, reads: bool) -> None:
    assert reads_body(text) is reads


def test_an_expression_without_a_body_judges_a_request_that_has_none() -> None:
    rule = {"type": "expression", "require": "caller.tier == 'business'"}
    assert judge(rule, caller=CALLER) is None


@pytest.mark.parametrize(
    "text", ["body.all(a, body.all(b, body.all(c, a + b + c >= 0)))", "body.map(a, body.map(b, a + b)).size() > 0"]
)
def test_its_rounds_are_bounded(text: str) -> None:
    expression = compile_expression(text)
    with pytest.raises(EvaluationError):
        expression.holds(Inputs({}, list(range(400)), characters=1, values=400))


def test_it_is_not_begun_where_rounds_times_text_is_too_much() -> None:
    expression = compile_expression("body.a.all(x, body.b.matches('(x+x+)+y'))")
    body = {"a": list(range(4000)), "b": "x" * 60_000}
    with pytest.raises(EvaluationError, match="too much work"):
        expression.holds(Inputs({}, body, characters=60_000, values=4000))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "[body.a].map(x, x + x + x + x + x + x).map(x, x + x + x + x + x + x).size() == 1",
        "['a'].exists(x, (body.a + body.a + body.a + body.a + body.a + body.a).size() > 1)",
    ],
)
def test_it_makes_no_text_many_times_as_long_as_the_body(text: str) -> None:
    expression = compile_expression(text)
    with pytest.raises(EvaluationError, match="too much work"):
        expression.holds(Inputs({}, {"a": "x" * 5_000_000}, characters=5_000_000, values=2))
    assert expression.holds(Inputs({}, {"a": "x" * 5_000}, characters=5_000, values=2))
