"""The route serves the method; whoever may not know that has been refused by now."""

from authz.case import Case
from authz.decision import Refusal
from authz.reasons import Reason


def check_method(case: Case) -> Refusal | None:
    # Methods are compared with case (RFC 9110 §9.1): `post` is not POST.
    case.method = case.route.methods.get(case.request.method)
    if case.method is None:
        return Refusal(Reason.METHOD_NOT_ALLOWED, allow=case.route.allow)
    return None
