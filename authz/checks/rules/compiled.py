"""A policy's rules, compiled once when it is loaded, and what every one of them has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from authz.checks.rules import age
from authz.checks.rules.age import AgeCheck
from authz.checks.rules.content import ContentCheck
from authz.checks.rules.crm import CrmCheck
from authz.checks.rules.given import RuleCheck
from authz.checks.rules.lead_score import LeadScoreCheck
from policy.rules import AgeRule, ContentRule, CrmRule, ExpressionRule, PersonalDataRule, Rule, RuleMode


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """One rule by its policy's name of it. Not enforced: what it would refuse is counted. `refusal`: its own words."""

    name: str
    enforced: bool
    refusal: str
    reads_body: bool
    rule: RuleCheck


def compile_rule(name: str, rule: Rule, schemas: Sequence[Mapping[str, JsonValue]]) -> CompiledRule:
    """`schemas`: of the bodies that it will judge. Raises ValueError where it cannot be enforced."""
    enforced = rule.mode is RuleMode.ENFORCE
    return CompiledRule(name, enforced, rule.refusal or "", rule.reads_body, _check_of(rule, schemas))


def claims_of(rule: Rule) -> frozenset[str]:
    """The claims of tokens that it reads, beside those that every token has."""
    if isinstance(rule, AgeRule):
        return age.CLAIMS
    return frozenset(rule.claims) if isinstance(rule, ExpressionRule) else frozenset()


def _check_of(rule: Rule, schemas: Sequence[Mapping[str, JsonValue]]) -> RuleCheck:
    if isinstance(rule, AgeRule):
        return AgeCheck.of(rule)
    if isinstance(rule, PersonalDataRule):
        # Numbering plans and grammars take longer to load than a gateway without such a rule has to spare.
        from authz.checks.rules.personal_data import PersonalDataCheck

        return PersonalDataCheck.of(rule)
    if isinstance(rule, ContentRule):
        return ContentCheck.of(rule)
    if isinstance(rule, CrmRule):
        return CrmCheck.of(rule)
    if isinstance(rule, ExpressionRule):
        # So does the library of expressions, and it takes 8 MB.
        from authz.checks.rules.expression import ExpressionCheck
        from policy.expressions import ExpressionError

        try:
            return ExpressionCheck.of(rule, schemas)
        except ExpressionError as error:
            raise ValueError(str(error)) from error
    return LeadScoreCheck.of(rule)
