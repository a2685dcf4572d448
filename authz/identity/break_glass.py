"""The credential of administrators for when their issuer is down (docs/adr/0025).

It is a token like others, of an issuer that is a key in a safe, and means one thing alone: somebody by name, for a
stated reason, administers the platform for an hour at most. Whatever else such a token says is refused, so that a
policy that admits it in a wrong place opens nothing there.
"""

import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from authz.identity.claims import Claims
from policy.kinds import Tier

TOKEN_TYPE: Final = "break-glass+jwt"  # noqa: S105
SUBJECT_PREFIX: Final = "break-glass:"
REASON_CLAIM: Final = "reason"
ROLE: Final = "admin"
NAMESPACE: Final = "platform:"
# A reason that says something, and that a line of the log and a column of the audit can hold.
REASON_FORM: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{8,98}[\x21-\x7e]")


def emergency_of(payload: Mapping[str, JsonValue], claims: Claims) -> tuple[str, str]:
    """What the audit says of it, and the cause why it is none; one of the two is empty."""
    reason = payload.get(REASON_CLAIM)
    if not isinstance(reason, str) or not REASON_FORM.fullmatch(reason):
        return "", "reason"
    if not claims.subject.startswith(SUBJECT_PREFIX) or len(claims.subject) == len(SUBJECT_PREFIX):
        return "", "sub"
    if claims.role != ROLE or claims.tier != Tier.INTERNAL.value or claims.tenant:
        return "", "role"
    if not claims.scopes or not all(scope.startswith(NAMESPACE) for scope in claims.scopes):
        return "", "scopes"
    # Without it the token could not be revoked alone.
    return ("", "jti") if not claims.jti else (f"break_glass: {reason}", "")
