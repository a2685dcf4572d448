"""A message says who sent it, and that is the agent that signed it (R62, attack A29).

Only where a schema says that the body is a message: central passes bodies on as they are (R22).
"""

from collections.abc import Mapping

from authz.case import NO_DOCUMENT, Case
from authz.decision import Refusal
from authz.principal import Kind
from authz.reasons import Reason


def check_sender(case: Case) -> Refusal | None:
    field = case.route.sender_field
    if case.principal.kind is not Kind.SIGNATURE or field is None or case.document is NO_DOCUMENT:
        return None
    document = case.document
    if isinstance(document, Mapping) and document.get(field) == case.principal.agent:
        return None
    return Refusal(Reason.SENDER_MISMATCH)
