"""This gateway is for this kind of caller: its row of the authentication matrix (R33, R68, C17)."""

from authz.case import Case
from authz.decision import Refusal
from authz.principal import Kind
from authz.reasons import Reason


def check_callers(case: Case) -> Refusal | None:
    if not case.asks:
        return None
    callers, principal = case.route.callers, case.principal
    match principal.kind:
        case Kind.TOKEN | Kind.BREAK_GLASS:
            admitted = principal.role in callers.roles.get(principal.issuer, ())
        case Kind.KEY:
            admitted = callers.partners
        case Kind.SIGNATURE:
            admitted = callers.agents
        case _:
            admitted = False
    return None if admitted else Refusal(Reason.CALLER_NOT_ADMITTED, detail=callers.refusal)
