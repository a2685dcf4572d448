"""What is known about credentials at one moment: immutable look-ups, replaced as a whole, never changed.

A check reads one `Facts` from its first step to its last, so a refresh in between cannot make it see half of each.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network

from authz.identity.keys import KeySet

# SHA-256 of the key's text: all that is ever stored of a partner key.
KeyDigest = bytes


@dataclass(frozen=True, slots=True)
class PartnerKey:
    """A partner's API key, as issued. Times in seconds since the epoch; `networks` None admits any address."""

    partner: str
    scopes: frozenset[str]
    tier: str
    expires_at: float
    key_id: str
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None


@dataclass(frozen=True, slots=True)
class PartnerKeys:
    """All live partner keys by digest. A look-up that is too old admits nobody."""

    by_digest: Mapping[KeyDigest, PartnerKey]
    usable_until: float = float("inf")


@dataclass(frozen=True, slots=True, repr=False)
class AgentSecrets:
    """The secrets of each agent by agent id; several while one is being rotated."""

    by_agent: Mapping[str, tuple[bytes, ...]]

    def __repr__(self) -> str:
        return f"AgentSecrets({len(self.by_agent)} agents)"


@dataclass(frozen=True, slots=True)
class Revocations:
    """Tokens that are refused although they are good: by (iss, jti), and by (iss, sub) up to an issue time.

    `iss` is the issuer's own name for itself, which means the same to every gateway.
    """

    tokens: AbstractSet[tuple[str, str]] = frozenset()
    # Tokens of the subject that were issued at or before this time (seconds since the epoch) are refused.
    subjects: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def covers(self, iss: str, jti: str, subject: str, issued_at: float) -> bool:
        if jti and (iss, jti) in self.tokens:
            return True
        until = self.subjects.get((iss, subject))
        return until is not None and issued_at <= until


@dataclass(frozen=True, slots=True)
class Consent:
    """A parent's recorded consent for a child. Times in seconds since the epoch; both are tokens' subjects."""

    consent_id: str
    child: str
    parent: str
    purposes: frozenset[str]
    granted_at: float
    expires_at: float

    def in_force(self, now: float) -> bool:
        return self.granted_at <= now < self.expires_at


@dataclass(frozen=True, slots=True)
class Consents:
    """All consents that are not revoked, by child. A look-up that is too old proves nothing."""

    by_child: Mapping[str, tuple[Consent, ...]]
    usable_until: float = float("inf")


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a decision looks up. None means: never loaded, so nothing that needs it can be admitted.

    `key_sets` by what stands for their source (`authz.identity.keys.source_of`).
    """

    key_sets: Mapping[str, KeySet] = field(default_factory=dict)
    partner_keys: PartnerKeys | None = None
    agent_secrets: AgentSecrets | None = None
    revocations: Revocations | None = Revocations()
    consents: Consents | None = None


class FactsBoard:
    """The current facts. Refreshers replace parts of them; whoever decides takes `current` once."""

    def __init__(self, facts: Facts | None = None) -> None:
        self.current = facts or Facts()

    def put_key_set(self, keys: str, key_set: KeySet) -> None:
        """`keys`: what stands for their source (`authz.identity.keys.source_of`)."""
        self.current = replace(self.current, key_sets={**self.current.key_sets, keys: key_set})

    def drop_key_set(self, keys: str) -> None:
        kept = {name: each for name, each in self.current.key_sets.items() if name != keys}
        self.current = replace(self.current, key_sets=kept)

    def put_partner_keys(self, keys: PartnerKeys) -> None:
        self.current = replace(self.current, partner_keys=keys)

    def put_agent_secrets(self, secrets: AgentSecrets | None) -> None:
        self.current = replace(self.current, agent_secrets=secrets)

    def put_revocations(self, revocations: Revocations) -> None:
        self.current = replace(self.current, revocations=revocations)

    def put_consents(self, consents: Consents) -> None:
        self.current = replace(self.current, consents=consents)
