"""The decision: one request, one version of the rules, one set of facts, one moment. No I/O and no clock."""

from collections.abc import Callable
from typing import Final

from authz.case import Case
from authz.checks.business import check_rules
from authz.checks.callers import check_callers
from authz.checks.identity import check_identity
from authz.checks.methods import check_method
from authz.checks.network import check_network
from authz.checks.schema import check_schema
from authz.checks.scopes import check_scopes
from authz.checks.sender import check_sender
from authz.checks.target import check_target
from authz.checks.tier import check_tier
from authz.decision import Decision, Refusal
from authz.facts import Facts
from authz.principal import NOBODY
from authz.reasons import Reason
from authz.request import Request
from authz.rules import Rules
from policy.modes import Mode

Check = Callable[[Case], Refusal | None]

# The order is part of the contract: what a caller may not know is not said before it is known who calls.
# Business rules come last, when the body is known to be what they expect.
CHECKS: Final[tuple[Check, ...]] = (
    check_target,
    check_network,
    check_identity,
    check_method,
    check_callers,
    check_scopes,
    check_tier,
    check_schema,
    check_sender,
    check_rules,
)
# A path that two programs read differently would reach one route with what another one asks for, or not.
CHECKS_WHEN_OFF: Final[tuple[Check, ...]] = (check_target,)


def decide(request: Request, rules: Rules, facts: Facts, now: float) -> Decision:
    """Whether a request may pass, and why not. `now`: seconds since the epoch.

    Allowed only when every check passed. A decision with a `claim` rests on the nonce being unspent, which the
    caller has to find out; the claim stands also in refusals, since a signature once verified has been used.
    What shadow lets pass is still a refusal here: `authz.modes` says what becomes of it.
    """
    if request.defect is not None:
        return Decision(Refusal(request.defect), NOBODY)
    if request.gateway != rules.gateway:
        return Decision(Refusal(Reason.GATEWAY_UNKNOWN), NOBODY)
    if request.policy != rules.version:
        return Decision(Refusal(Reason.POLICY_UNKNOWN), NOBODY)
    route = rules.routes.get(request.route)
    if route is None:
        return Decision(Refusal(Reason.ROUTE_UNKNOWN), NOBODY)
    if request.listener not in route.listeners:
        return Decision(Refusal(Reason.LISTENER_UNKNOWN), NOBODY, route)
    case = Case(request, rules, route, facts, now)
    refusal = None
    for check in CHECKS if route.mode is not Mode.OFF else CHECKS_WHEN_OFF:
        refusal = check(case)
        if refusal is not None:
            break
    return Decision(refusal, case.principal, route, case.claim, case.missing_key, case.shadowed)
