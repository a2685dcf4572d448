"""The credential grants what the method does: `marketing:read`, `marketing:write` or `marketing:*` (R38, R97, C16)."""

from authz.case import Case
from authz.decision import Refusal
from authz.principal import Kind
from authz.reasons import Reason


def check_scopes(case: Case) -> Refusal | None:
    method = case.method
    if not case.asks or not case.route.namespace:
        return None
    if method is None:
        return Refusal(Reason.INSUFFICIENT_SCOPE, "no method")
    principal = case.principal
    if principal.kind is Kind.KEY:
        # The form of partners binds the partner too: acme's key opens nothing of beta's (attack A57).
        prefix = f"partner:{principal.partner}:{case.route.namespace}:"
        granted = prefix + method.action in principal.scopes or prefix + "*" in principal.scopes
    else:
        granted = not method.scopes.isdisjoint(principal.scopes)
    return None if granted else Refusal(Reason.INSUFFICIENT_SCOPE, scope=method.scope)
