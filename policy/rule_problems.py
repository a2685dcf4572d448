"""What is wrong with business rules where they are used: on these routes, these methods and these schemas."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from policy.access import JsonSchema
from policy.kinds import Method
from policy.problem import Problem
from policy.route import Access, Route
from policy.rules import AgeRule, ContentRule, CrmRule, ExpressionRule, LeadScoreRule, PersonalDataRule, Rule

if TYPE_CHECKING:
    from policy.model import Gateway

_WITH_BODY: Final = frozenset({Method.POST, Method.PUT, Method.PATCH})


def rule_problems(gateway: "Gateway") -> Iterator[Problem]:
    """Everything that would leave a rule without effect, or without a body to judge."""
    for name, route in gateway.routes.items():
        for rule_name in gateway.rules_of(route):
            rule = gateway.rules.get(rule_name)
            if rule is not None:
                yield from _use_problems(gateway, name, route, rule_name, rule)
    for rule_name, rule in gateway.rules.items():
        schemas = gateway.schemas_under(rule_name)
        if isinstance(rule, ExpressionRule):
            yield from _expression_problems(rule_name, rule, schemas)
        if schemas:
            yield from _pointer_problems(rule_name, rule, schemas)


def _use_problems(gateway: "Gateway", name: str, route: Route, rule_name: str, rule: Rule) -> Iterator[Problem]:
    at: tuple[str | int, ...] = ("routes", name)
    where = (*at, "rules") if route.rules is not None else ("defaults", "rules")
    admitted = gateway.methods_of(route)
    if isinstance(rule, AgeRule) and route.access is Access.PUBLIC:
        yield Problem(
            where, f"rule {rule_name!r} asks how old the caller is, and {name!r} is public", "access: callers"
        )
    for method in rule.methods or ():
        if method not in admitted and route.rules is not None:
            yield Problem(where, f"rule {rule_name!r} holds for {method}, which is not admitted here", "other methods")
    if rule.reads_body:
        # A body that no schema describes is not read, and the rule would not see it.
        for method in _WITH_BODY if rule.methods is None else rule.methods:
            if method in admitted and method not in route.body:
                yield Problem(
                    (*at, "body"),
                    f"rule {rule_name!r} judges bodies, and none is checked for {method}",
                    f"a schema for {method}, or other `rules` here",
                )


def _expression_problems(rule_name: str, rule: ExpressionRule, schemas: tuple[JsonSchema, ...]) -> Iterator[Problem]:
    # The library takes 8 MB, which processes whose policies have no expression do without.
    from policy.expressions import ExpressionError, compile_expression

    try:
        compile_expression(rule.require, rule.claims, schemas)
    except ExpressionError as error:
        yield Problem(("rules", rule_name, "require"), str(error), "an expression in CEL", error.place)


def _pointer_problems(rule_name: str, rule: Rule, schemas: tuple[JsonSchema, ...]) -> Iterator[Problem]:
    for path, pointer in _pointers(rule):
        if not any(_leads_somewhere(schema, pointer.split("/")[1:]) for schema in schemas):
            yield Problem(("rules", rule_name, *path), f"no schema here has {pointer}", "the pointer of a field")


def _pointers(rule: Rule) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The fields that a rule cannot do without, and where it names them."""
    if isinstance(rule, PersonalDataRule):
        for pointer in rule.fields:
            yield ("fields", pointer), pointer
        if rule.fields:
            yield ("lawful_basis",), rule.lawful_basis
    elif isinstance(rule, ContentRule):
        for index, pointer in enumerate(rule.fields or ()):
            yield ("fields", index), pointer
    elif isinstance(rule, CrmRule):
        for field in ("system", "external_id", "integration"):
            yield (field,), getattr(rule, field)
        for index, pointer in enumerate(rule.urls):
            yield ("urls", index), pointer
    elif isinstance(rule, LeadScoreRule):
        yield ("factors",), rule.factors


def _leads_somewhere(schema: JsonValue | JsonSchema, segments: list[str]) -> bool:
    """Whether a document of the schema can have the field; yes where the schema does not say."""
    if not segments or not isinstance(schema, Mapping):
        return not segments or schema is not False
    properties = schema.get("properties")
    if segments[0] == "*":
        return _leads_somewhere(schema.get("items"), segments[1:])
    if isinstance(properties, Mapping) and (named := segments[0].replace("~1", "/").replace("~0", "~")) in properties:
        return _leads_somewhere(properties[named], segments[1:])
    return schema.get("additionalProperties") is not False
