"""The route's business rules, last of all: the caller is known by now, and the body is what its schema says (R66)."""

from authz.case import NO_DOCUMENT, Case
from authz.checks.rules.compiled import CompiledRule
from authz.checks.rules.given import Breach, Given
from authz.decision import Refusal, Shadowed
from authz.reasons import Reason


def check_rules(case: Case) -> Refusal | None:
    method = case.method
    if method is None or not method.rules:
        return None
    document = case.document
    has_body = document is not NO_DOCUMENT
    given = Given(
        case.request,
        case.principal,
        case.facts,
        case.now,
        has_body=has_body,
        document=None if document is NO_DOCUMENT else document,
        pointer=(lambda path: "") if method.schema is None else method.schema.pointer,
    )
    refusal: Refusal | None = None
    for rule in method.rules:
        # Once refused, the request is not looked at by the rest; those in shadow still say what they would have done.
        if refusal is None or not rule.enforced:
            found = _broken(rule, given)
            if found is None:
                continue
            if rule.enforced:
                refusal = Refusal(found.reason, f"rule {rule.name}", rule.refusal, found.errors)
            else:
                case.shadowed = (*case.shadowed, Shadowed(rule.name, found.reason))
    return refusal


def _broken(rule: CompiledRule, given: Given) -> Breach | None:
    if rule.reads_body and not given.has_body:
        return Breach(Reason.RULE_REFUSED)
    try:
        return rule.rule.check(given)
    except Exception:  # noqa: BLE001 a rule that fails has not held, and one in shadow must fail nobody's request
        return Breach(Reason.RULE_REFUSED)
