"""A request before every check, those after the first refusal too: for people who ask why. Decides nothing.

Nothing is remembered and nothing spent, whatever is asked, provided that the rules are the asker's own: compiled for
this, since a verified token is remembered beside its rules.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from authz.case import Case
from authz.decision import Decision, NonceClaim, Refusal
from authz.facts import Facts
from authz.modes import in_mode
from authz.pipeline import CHECKS, CHECKS_WHEN_OFF, Check, decide
from authz.principal import Principal
from authz.request import Request
from authz.rules import Rules
from policy.modes import Mode


class Said(StrEnum):
    """`not_asked`: the route, or its mode, does not. `unanswerable`: an earlier refusal leaves nothing to judge by."""

    PASSED = "passed"
    REFUSED = "refused"
    NOT_ASKED = "not_asked"
    UNANSWERABLE = "unanswerable"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check said. `why`: what an unanswerable one would have needed."""

    check: str
    said: Said
    refusal: Refusal | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """Every verdict in the order of the checks, and the decision that comes of them in the route's mode.

    `refusal`: as enforced, whatever the mode. `claim`: a nonce that the request itself would spend.
    """

    verdicts: tuple[Verdict, ...]
    decision: Decision
    refusal: Refusal | None
    principal: Principal
    claim: NonceClaim | None


_CALLER: Final = "who calls"
_METHOD: Final = "a method that is served"
_DOCUMENT: Final = "a body that meets its schema"
# What each check stands on, beside what is in the request: the names of checks that must not have refused.
_NEEDS: Final = {
    "callers": {"identity": _CALLER},
    "scopes": {"identity": _CALLER, "method": _METHOD},
    "tier": {"identity": _CALLER},
    "schema": {"method": _METHOD},
    "sender": {"identity": _CALLER, "schema": _DOCUMENT},
    "rules": {"identity": _CALLER, "method": _METHOD, "schema": _DOCUMENT},
}
_ABOUT_CALLERS: Final = frozenset({"callers", "scopes", "tier"})


def examine(request: Request, rules: Rules, facts: Facts, now: float) -> Examination:
    """What every check says of a request. `now`: seconds since the epoch."""
    decision = decide(request, rules, facts, now)
    route = decision.route
    if route is None:
        return Examination((), decision, decision.refusal, decision.principal, None)
    case = Case(request, rules, route, facts, now)
    verdicts: list[Verdict] = []
    if request.listener in route.listeners:
        for check in CHECKS:
            verdicts.append(_verdict(check, case, {one.check for one in verdicts if _is_open(one)}))
    settled = in_mode(request, replace(decision, shadowed=case.shadowed or decision.shadowed))
    return Examination(tuple(verdicts), settled, decision.refusal, case.principal, decision.claim)


def name_of(check: Check) -> str:
    return check.__name__.removeprefix("check_")


def _is_open(verdict: Verdict) -> bool:
    return verdict.said in {Said.REFUSED, Said.UNANSWERABLE}


def _verdict(check: Check, case: Case, open_: set[str]) -> Verdict:
    name = name_of(check)
    if case.route.mode is Mode.OFF and check not in CHECKS_WHEN_OFF:
        return Verdict(name, Said.NOT_ASKED, why="the mode is off")
    lacking = [what for needed, what in _NEEDS.get(name, {}).items() if needed in open_]
    if lacking:
        return Verdict(name, Said.UNANSWERABLE, why=f"needs {' and '.join(lacking)}")
    refusal = check(case)
    if refusal is not None:
        return Verdict(name, Said.REFUSED, refusal)
    if not case.asks and name in _ABOUT_CALLERS:
        return Verdict(name, Said.NOT_ASKED, why="the route is public" if case.route.public else "nobody is known")
    return Verdict(name, Said.PASSED)
