"""What becomes of a decision in the mode of its route (docs/operate/modes.md). Pure: no I/O, no clock."""

from dataclasses import replace
from typing import Final

from authz.addresses import counted, read_address
from authz.decision import Decision
from authz.principal import Kind, Principal
from authz.reasons import Reason
from authz.request import Request
from authz.rules import RouteRules
from policy.descriptors import CLIENT_ADDRESS_HEADER
from policy.modes import Mode

# What no mode lets pass: nobody knows what was decided, what was asked for means different things to different
# programs, or what must be recorded cannot be. None of it is a decision of policy.
UNCONDITIONAL: Final = frozenset(
    {
        Reason.CHECK_EMPTY,
        Reason.GATEWAY_UNKNOWN,
        Reason.POLICY_UNKNOWN,
        Reason.ROUTE_UNKNOWN,
        Reason.LISTENER_UNKNOWN,
        Reason.ROUTE_MISMATCH,
        Reason.INTERNAL_ERROR,
        Reason.AUDIT_UNAVAILABLE,
        Reason.HEADER_INVALID,
        Reason.PATH_INVALID,
        Reason.QUERY_INVALID,
        # Limits hold in every mode. Nobody is asked for them before the mode has had its say.
        Reason.RATE_LIMITED,
        Reason.LIMITS_UNAVAILABLE,
    }
)
# A signature was good and is no proof: whoever copied it would be taken for its maker.
_UNPROVEN: Final = frozenset({Reason.SIGNATURE_REPLAYED, Reason.NONCE_STORE_UNAVAILABLE})


def in_mode(request: Request, decision: Decision) -> Decision:
    """The decision as its route's mode has it, once everything is known that it waits for.

    In shadow a refusal becomes `waived`. Whoever passes unknown, or in a tier that the route has no figures for, is
    counted by the limits with those of its lowest tier: a limit refuses what it has no figure for.
    """
    route, refusal, principal = decision.route, decision.refusal, decision.principal
    if route is None or route.mode is Mode.ENFORCE:
        return decision
    waived = None
    if refusal is not None:
        if route.mode is not Mode.SHADOW or refusal.reason in UNCONDITIONAL:
            return decision
        waived = refusal
    if route.public and waived is None:
        return decision
    unproven = waived is not None and waived.reason in _UNPROVEN
    if unproven or principal.kind is Kind.ANONYMOUS:
        principal = _unknown(request, route)
    elif principal.tier not in route.tiers:
        principal = replace(principal, counts_as=route.lowest_tier)
    return replace(decision, refusal=None, waived=waived, principal=principal)


def _unknown(request: Request, route: RouteRules) -> Principal:
    """Nobody, for all but the limits: there an address has counters of its own."""
    address = counted(read_address(request.headers.get(CLIENT_ADDRESS_HEADER, "")))
    return Principal(Kind.ANONYMOUS, counts_as=route.lowest_tier, address=address)
