"""The caller's tier is one that we know and that this route admits; an absent cell of the matrix is a no (R70)."""

from authz.case import Case
from authz.decision import Refusal
from authz.reasons import Reason
from authz.rules import KNOWN_TIERS


def check_tier(case: Case) -> Refusal | None:
    if not case.asks or case.principal.tier in case.route.tiers:
        return None
    return Refusal(Reason.TIER_NOT_ADMITTED if case.principal.tier in KNOWN_TIERS else Reason.TIER_UNKNOWN)
