"""Tokens of the development issuers for tests: good ones by gateway, and any other by its claims."""

from collections.abc import Callable, Mapping
from pathlib import Path

from apibank.issuer.mint import mint

Fresh = Callable[[str], str]

# The role, and a scope that reads and writes, with which a gateway admits a customer's token.
ADMITTED = {
    "marketing": ("customer", "marketing:*"),
    "education": ("student", "education:*"),
    "sales": ("company", "sales:*"),
}


class Tokens:
    """Signs with the keys in a stack's state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def customer(self, **claims: object) -> str:
        """A token of the customer issuer; `claims` overrides any claim."""
        return self.mint("customer", claims)

    def admin(self, fresh: Fresh, **claims: object) -> str:
        """A good administrator's token, of a new administrator."""
        return self.mint("admin", {"sub": fresh("admin"), **claims})

    def of(self, gateway: str, fresh: Fresh, **claims: object) -> str:
        """A good token for a domain gateway, of a new caller of the business tier."""
        role, scope = ADMITTED[gateway]
        good: dict[str, object] = {"sub": fresh("user"), "role": role, "tier": "business", "scopes": [scope]}
        return self.mint("customer", {**good, **claims})

    def mint(self, issuer: str, claims: Mapping[str, object], *, expires_in: int = 3600) -> str:
        """Sign any claims at all; those that are None are left out."""
        absent = [name for name, value in claims.items() if value is None]
        return mint(self._state_dir, issuer, claims=claims, without=absent, expires_in=expires_in)
