"""Somebody who is signed in to the portal, and the partner under whose name their keys are."""

import hashlib
import re
from dataclasses import dataclass
from typing import Final

# As records take partners.
_PARTNER: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Who has no tenant has keys of their own under these; no tenant is given them, whatever it is called.
_OWN: Final = "person-"
_OWN_BY_DIGEST: Final = "person_"
_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Person:
    """What the issuer said when this person signed in. `scopes` are such as `marketing:*`.

    `issuer`, `jti` and `issued_at` (seconds since the epoch) are the access token's, by which it can be revoked.
    """

    subject: str
    name: str
    role: str
    tier: str
    scopes: tuple[str, ...]
    tenant: str | None = None
    issuer: str = ""
    jti: str = ""
    issued_at: float = 0.0

    @property
    def partner(self) -> str | None:
        """Whose keys these are: the tenant's, or the person's own. None for a tenant that no key can name.

        No two of them share one: not a tenant and a person who is called alike, nor two persons.
        """
        if self.tenant is not None:
            reserved = self.tenant.startswith((_OWN, _OWN_BY_DIGEST))
            return self.tenant if _PARTNER.fullmatch(self.tenant) and not reserved else None
        plain = _OWN + self.subject
        if _PARTNER.fullmatch(plain):
            return plain
        return _OWN_BY_DIGEST + hashlib.sha256(self.subject.encode("utf-8", "replace")).hexdigest()[:_DIGITS]

    def may(self, namespace: str, action: str) -> bool:
        """Whether the person's own scopes cover an action (C16)."""
        return f"{namespace}:*" in self.scopes or f"{namespace}:{action}" in self.scopes

    def told(self) -> dict[str, object]:
        """As JSON, for a session."""
        return {
            "subject": self.subject,
            "name": self.name,
            "role": self.role,
            "tier": self.tier,
            "scopes": list(self.scopes),
            "tenant": self.tenant,
            "issuer": self.issuer,
            "jti": self.jti,
            "issued_at": self.issued_at,
        }


def person_told(told: object) -> Person | None:
    """What `told` wrote; None where something else is there, such as what a later version wrote."""
    match told:
        case {
            "subject": str(subject),
            "name": str(name),
            "role": str(role),
            "tier": str(tier),
            "scopes": list(scopes),
            "tenant": str() | None as tenant,
            "issuer": str(issuer),
            "jti": str(jti),
            "issued_at": int() | float() as issued_at,
        } if subject and all(isinstance(one, str) for one in scopes):
            return Person(subject, name, role, tier, tuple(scopes), tenant, issuer, jti, issued_at)
    return None
