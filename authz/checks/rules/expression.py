"""What teams add themselves: an expression that must be true (policy.expressions says what it sees)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from urllib.parse import parse_qsl

from pydantic import JsonValue

from authz.checks.rules.given import Breach, Given
from authz.reasons import Reason
from policy.expressions import EvaluationError, Expression, Inputs, compile_expression
from policy.rules import ExpressionRule

_NO_RESULT = Breach(Reason.RULE_REFUSED)


@dataclass(frozen=True, slots=True)
class ExpressionCheck:
    """One expression of a policy."""

    expression: Expression
    claims: frozenset[str]

    @classmethod
    def of(cls, rule: ExpressionRule, schemas: Sequence[Mapping[str, JsonValue]]) -> Self:
        """Raises policy.expressions.ExpressionError."""
        return cls(compile_expression(rule.require, rule.claims, schemas), frozenset(rule.claims))

    def check(self, given: Given) -> Breach | None:
        document = given.document if given.has_body else None
        values, characters = _measured(document) if self.expression.macros else (1, 1)
        inputs = Inputs(self._variables(given), document, characters, values)
        try:
            return None if self.expression.holds(inputs) else _NO_RESULT
        except EvaluationError:
            return _NO_RESULT

    def _variables(self, given: Given) -> dict[str, JsonValue | datetime]:
        request, principal = given.request, given.principal
        query: dict[str, JsonValue] = {}
        for name, value in parse_qsl(request.query or "", keep_blank_values=True):
            held = query.setdefault(name, [])
            if isinstance(held, list):
                held.append(value)
        return {
            "request.method": request.method,
            "request.path": request.path,
            "request.route": request.route,
            "request.query": query,
            "request.time": datetime.fromtimestamp(given.now, UTC),
            "caller.kind": principal.kind.value,
            "caller.role": principal.role,
            "caller.tier": principal.tier,
            "caller.tenant": principal.tenant,
            "caller.partner": principal.partner,
            "caller.agent": principal.agent,
            "caller.scopes": list[JsonValue](sorted(principal.scopes)),
            "caller.claims": {name: value for name, value in principal.claims.items() if name in self.claims},
        }


def _measured(document: JsonValue) -> tuple[int, int]:
    """How many values a document has, and how many characters."""
    open_, values, characters = [document], 0, 1
    while open_:
        value = open_.pop()
        values += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            characters += sum(map(len, value))
            open_.extend(value.values())
        elif isinstance(value, list):
            open_.extend(value)
    return values, characters
