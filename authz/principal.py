"""Who is calling, once a credential has been verified."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from policy.descriptors import ANONYMOUS as ANONYMOUS_CALLER
from policy.descriptors import (
    CALLER_ADDRESS,
    CALLER_AGENT,
    CALLER_PARTNER,
    CALLER_SUBJECT,
    CALLER_TENANT,
    IDENTITY_HEADERS,
)


class Kind(StrEnum):
    """By what the caller was recognised."""

    ANONYMOUS = "anonymous"
    TOKEN = "token"  # noqa: S105
    KEY = "key"
    SIGNATURE = "signature"
    # A token, too, but one that nobody's issuer made (docs/adr/0025).
    BREAK_GLASS = "break_glass"


@dataclass(frozen=True, slots=True, eq=False)
class Principal:
    """A caller. Every text is visible ASCII of bounded length, fit for a header; absent ones are empty.

    Compared by identity: one verified credential is one principal, which lets answers be remembered per principal.
    """

    kind: Kind
    subject: str = ""
    role: str = ""
    # As the credential states it; only the tier check says whether it is one that we know.
    tier: str = ""
    scopes: frozenset[str] = frozenset()
    tenant: str = ""
    partner: str = ""
    agent: str = ""
    # The policy's name of the token's issuer.
    issuer: str = ""
    # Why an emergency's credential was made, for the audit.
    remark: str = ""
    # Names the credential in audit: the token's `jti`, or the key's public id. Never the credential.
    credential_id: str = ""
    # By the figures of which tier it is limited, where not by its own (authz.modes); and from where nobody calls.
    counts_as: str = ""
    address: str = ""
    # Of a token's other claims those that the policy's rules read: any JSON, unlike everything above.
    claims: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[str, ...]:
        """What the service is told, in the order of `policy.descriptors.IDENTITY_HEADERS`; empty: nothing."""
        if self.kind is Kind.ANONYMOUS:
            return ("",) * len(IDENTITY_HEADERS)
        scopes = " ".join(sorted(self.scopes))
        return self.subject, self.tenant, self.role, self.tier, scopes, self.agent, self.partner

    @property
    def counted_tier(self) -> str:
        """By the figures of which tier the limits count; empty where the credential states none."""
        return self.counts_as or self.tier

    @property
    def key(self) -> str:
        """The public id of the API key by which the caller was recognised; empty where it was none."""
        return self.credential_id if self.kind is Kind.KEY else ""

    @property
    def caller(self) -> str:
        """Whose counters are charged (AUTHZ, caller's key): `tenant:acme`, `sub:user_1`, `partner:acme` ..."""
        if self.kind is Kind.TOKEN or self.kind is Kind.BREAK_GLASS:
            return CALLER_TENANT + self.tenant if self.tenant else CALLER_SUBJECT + self.subject
        if self.kind is Kind.KEY:
            return CALLER_PARTNER + self.partner
        if self.kind is Kind.SIGNATURE:
            return CALLER_AGENT + self.agent
        return CALLER_ADDRESS + self.address if self.address else ANONYMOUS_CALLER


NOBODY: Final = Principal(Kind.ANONYMOUS)
