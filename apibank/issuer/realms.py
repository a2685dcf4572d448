"""The two issuers, kept apart from keys to audience: customers', and administrators' (C6)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

ACCESS_TOKEN_SECONDS: Final = 3600  # R88
# Where each issuer publishes its keys.
JWKS_PATH: Final = "/.well-known/jwks.json"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, or some service, whom tokens can be about. `claims` are those beyond R86, such as a tenant."""

    subject: str
    name: str
    role: str
    tier: str
    scopes: tuple[str, ...]
    claims: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def email(self) -> str:
        return f"{self.subject}@example.com"


@dataclass(frozen=True, slots=True)
class Realm:
    """One issuer: the `iss` and `aud` of its tokens, and whom it knows. The first person is the default."""

    name: str
    issuer: str
    audience: str
    people: tuple[Person, ...]
    service: Person

    def person(self, subject: str) -> Person | None:
        return next((one for one in self.people if one.subject == subject), None)

    @property
    def scopes(self) -> frozenset[str]:
        """Every scope that a client of this issuer may ask for."""
        held = {scope for one in (*self.people, self.service) for scope in one.scopes}
        spaces = {scope.rpartition(":")[0] for scope in held}
        return frozenset(held | {f"{space}:{action}" for space in spaces for action in ("read", "write")})


# The scope that comes with a role, where a token names none.
SCOPES_OF_ROLE: Final[Mapping[str, tuple[str, ...]]] = {
    "customer": ("marketing:*",),
    "student": ("education:*",),
    "parent": ("education:*",),
    "company": ("sales:*",),
    "admin": ("platform:*",),
}

# What rules about age read, where a token says nothing of its own. Not the tenant: callers that differ in `sub` alone
# must not share a counter (C14).
CLAIMS_OF_ROLE: Final[Mapping[str, Mapping[str, JsonValue]]] = {
    "student": {"birthdate": "2008-04-01"},
    "parent": {"birthdate": "1985-04-01"},
}

CUSTOMER: Final = Realm(
    name="customer",
    issuer="https://auth.waooaw.ai",
    audience="https://api.waooaw.ai",
    people=(
        Person("user_12345", "Bina, business customer", "customer", "business", ("marketing:*",)),
        Person("user_free", "Farid, free customer", "customer", "free", ("marketing:*",)),
        Person(
            "user_enterprise",
            "Esha, enterprise customer",
            "customer",
            "enterprise",
            ("marketing:*",),
            {"tenant_id": "acme"},
        ),
        Person("student_1", "Sunil, student", "student", "free", ("education:*",), {"birthdate": "2008-04-01"}),
        Person(
            "student_child", "Chitra, young child", "student", "free", ("education:*",), {"birthdate": "2019-04-01"}
        ),
        Person("parent_1", "Pooja, parent", "parent", "business", ("education:*",), {"birthdate": "1985-04-01"}),
        Person("company_1", "Company account", "company", "business", ("sales:*",), {"tenant_id": "company_1"}),
    ),
    service=Person("waooaw-service", "A service", "customer", "business", ("marketing:*", "education:*", "sales:*")),
)

ADMIN: Final = Realm(
    name="admin",
    issuer="https://admin.auth.waooaw.ai",
    audience="https://admin.api.waooaw.ai",
    people=(Person("admin_1", "Asha, administrator", "admin", "internal", ("platform:*",)),),
    service=Person("waooaw-service", "A service", "admin", "internal", ("platform:*",)),
)

REALMS: Final[Mapping[str, Realm]] = {realm.name: realm for realm in (CUSTOMER, ADMIN)}
