"""What is allowed by the model and should not be: rules with stable codes, each with a page in docs/lint/."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from policy.kinds import LintExceptions
from policy.lint.finding import Fault, Finding, Rule, Severity
from policy.lint.table import CODES, PRIVATE_KEY, RULES, UNUSED_EXCEPTION
from policy.model import Gateway
from policy.positions import Positions
from policy.problem import Diagnostic, FieldPath

__all__ = [
    "CODES",
    "RULES",
    "UNUSED_EXCEPTION",
    "Finding",
    "Rule",
    "Severity",
    "diagnostic_of",
    "lint",
    "lint_all",
    "lint_errors",
]

_ERRORS = tuple(rule for rule in RULES.values() if rule.severity is Severity.ERROR)


def lint(gateway: Gateway, positions: Positions | None = None) -> list[Finding]:
    """Every finding that no `lint_exceptions` covers, in the order of their places; and the exceptions that cover none.

    The exceptions of a route cover what is found in it, those of the gateway everything.
    """
    return [finding for finding in lint_all(gateway, positions) if not finding.excepted]


def lint_errors(gateway: Gateway, positions: Positions | None = None) -> list[Finding]:
    """Of what `lint` finds, what refuses the policy; looking for nothing else takes half the time."""
    return sorted((each for each in _found(gateway, positions, _ERRORS, set()) if not each.excepted), key=_place)


def lint_all(gateway: Gateway, positions: Positions | None = None) -> list[Finding]:
    """The same with what is excepted, which has its reason in `excepted`."""
    used: set[tuple[FieldPath, str]] = set()
    findings = list(_found(gateway, positions, RULES.values(), used))
    findings += [
        _finding(UNUSED_EXCEPTION, "its removal, or the code that is meant", fault, positions)
        for fault in _unused_exceptions(gateway, used)
    ]
    return sorted(findings, key=_place)


def _found(
    gateway: Gateway, positions: Positions | None, rules: Iterable[Rule], used: set[tuple[FieldPath, str]]
) -> Iterator[Finding]:
    for rule in rules:
        for fault in rule.check(gateway):
            reasons = []
            for at, exceptions in _exceptions(gateway, fault.path):
                if rule.code in exceptions:
                    used.add((at, rule.code))
                    reasons.append(exceptions[rule.code])
            yield _finding(rule.code, rule.help, fault, positions, "; ".join(reasons))


def diagnostic_of(finding: Finding, positions: Positions) -> Diagnostic:
    """A finding as every other error of a policy: with its line, and the page that explains it."""
    help_ = f"{finding.help} (docs/lint/{finding.code}.md)"
    found = replace(positions.diagnostic(finding.path, finding.message, hint=help_), code=finding.code)
    # Errors end up in logs, and private keys must not.
    return replace(found, source_line="") if finding.code == PRIVATE_KEY else found


def _exceptions(gateway: Gateway, path: FieldPath) -> Iterator[tuple[FieldPath, LintExceptions]]:
    yield (), gateway.lint_exceptions
    if len(path) > 1 and path[0] == "routes":
        yield path[:2], gateway.routes[str(path[1])].lint_exceptions


def _unused_exceptions(gateway: Gateway, used: set[tuple[FieldPath, str]]) -> Iterator[Fault]:
    everywhere: Mapping[FieldPath, LintExceptions] = {
        (): gateway.lint_exceptions,
        **{("routes", name): route.lint_exceptions for name, route in gateway.routes.items()},
    }
    for at, exceptions in everywhere.items():
        for code in exceptions:
            if (at, code) not in used:
                what = "finds nothing here" if code in RULES else "is no code of the linter"
                yield Fault((*at, "lint_exceptions", code), f"{code} {what}")


def _finding(code: str, help_: str, fault: Fault, positions: Positions | None, excepted: str = "") -> Finding:
    place = None if positions is None else positions.nearest(fault.path)
    _, severity = CODES[code]
    return Finding(code, severity, fault.path, fault.message, help_, place, excepted)


def _place(finding: Finding) -> tuple[str, int, str]:
    return (
        ("", 0, finding.code)
        if finding.position is None
        else (finding.position.file, finding.position.line, finding.code)
    )
