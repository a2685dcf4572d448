"""Who calls the platform, as the gateway says in headers that no client can set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request

from policy.descriptors import CALLER_SUBJECT, CLIENT_ADDRESS_HEADER
from portal.problems import Refused
from portal.refusals import REQUEST_ID_HEADER

_ADMIN: Final = "admin"
_BREAK_GLASS: Final = "break-glass:"


@dataclass(frozen=True, slots=True)
class Caller:
    """An administrator. `subject` as the token names it, so for nobody's log."""

    subject: str
    role: str
    address: str
    user_agent: str
    request_id: str

    def principal(self, pseudonym: Callable[[str], str]) -> str:
        """As the audit names it (authz.audit): by a pseudonym, but for who broke the glass."""
        return self.subject if self.subject.startswith(_BREAK_GLASS) else CALLER_SUBJECT + pseudonym(self.subject)


def admin_of(request: Request) -> Caller:
    """The administrator who calls. Raises Refused for anybody else: the gateway has let nobody else pass, so that it
    did not come through the gateway."""
    headers = request.headers
    caller = Caller(
        subject=headers.get("x-waooaw-subject", ""),
        role=headers.get("x-waooaw-role", ""),
        address=headers.get(CLIENT_ADDRESS_HEADER, ""),
        user_agent=headers.get("user-agent", ""),
        request_id=headers.get(REQUEST_ID_HEADER, ""),
    )
    if caller.role != _ADMIN or not caller.subject:
        raise Refused(403, "forbidden", "Admin access required.")
    return caller
