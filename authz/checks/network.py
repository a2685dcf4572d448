"""The client's address is on the allow-lists of the listener and of the route (R13, R35, R64)."""

from authz.case import Case
from authz.decision import Refusal
from authz.reasons import Reason


def check_network(case: Case) -> Refusal | None:
    for where, allowed in (
        ("listener", case.rules.listeners.get(case.request.listener)),
        ("route", case.route.networks),
    ):
        if allowed is not None and not allowed.admits(case.address):
            return Refusal(Reason.ADDRESS_NOT_ALLOWED, where)
    return None
