"""A lead's score: a whole number of 0 to 100, from factors that weigh 1 together and judge nobody (R58)."""

import math
from dataclasses import dataclass
from typing import Final, Self

from pydantic import JsonValue

from authz.checks.rules.given import Breach, Given, Path, Steps, breach, find, steps
from authz.checks.rules.words import spellings
from authz.decision import FieldError
from authz.reasons import Reason
from policy.rules import LeadScoreRule

_HIGHEST: Final = 100
# What the weights may miss 1 by: they are written in decimals.
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class LeadScoreCheck:
    """One rule about scores. `protected`: words that no factor's name may hold."""

    score: Steps
    factors: Steps
    client_sets_score: bool
    protected: frozenset[str]

    @classmethod
    def of(cls, rule: LeadScoreRule) -> Self:
        return cls(steps(rule.score), steps(rule.factors), rule.client_sets_score, frozenset(rule.protected))

    def check(self, given: Given) -> Breach | None:
        errors = [
            error for path, value in find(given.document, self.score) for error in self._score(given, path, value)
        ]
        for path, factors in find(given.document, self.factors):
            errors += self._factors(given, path, factors)
        return breach(Reason.LEAD_SCORE_INVALID, errors)

    def _score(self, given: Given, path: Path, value: JsonValue) -> list[FieldError]:
        if not self.client_sets_score:
            return [given.error(path, "set_by_client")]
        whole = isinstance(value, int) and not isinstance(value, bool)
        return [] if whole and 0 <= value <= _HIGHEST else [given.error(path, "range")]  # type: ignore[operator]

    def _factors(self, given: Given, path: Path, factors: JsonValue) -> list[FieldError]:
        if not isinstance(factors, dict):
            return [given.error(path, "factors")]
        errors: list[FieldError] = []
        weights: list[float] = []
        for name, weight in factors.items():
            if not self.protected.isdisjoint(_words(name)):
                errors.append(given.error((*path, name), "protected_attribute"))
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1:
                errors.append(given.error((*path, name), "weight"))
            else:
                weights.append(weight)
        if not errors and abs(math.fsum(weights) - 1) > _TOLERANCE:
            errors.append(given.error(path, "sum"))
        return errors


def _words(name: str) -> list[str]:
    """The words of a name, also those that are not written apart: customerGender, customer-gender, GENDER."""
    return [word for spelling in spellings(name) for word in (*spelling.split("_"), spelling.replace("_", " "))]
