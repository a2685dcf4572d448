"""One rule and one request, as small as the tables of rules need them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue, TypeAdapter

from authz.case import NO_DOCUMENT
from authz.checks.rules.compiled import compile_rule
from authz.checks.rules.given import Breach, Given
from authz.facts import Consent, Consents, Facts
from authz.principal import Kind, Principal
from authz.request import Request
from policy.rules import Rule
from tests.unit.authz import world

RULE: TypeAdapter[Rule] = TypeAdapter(Rule)
NOW = world.NOW


def judge(
    rule: Mapping[str, object],
    body: object = NO_DOCUMENT,
    *,
    caller: Principal | None = None,
    facts: Facts | None = None,
    now: float = NOW,
    schemas: Sequence[Mapping[str, JsonValue]] = (),
    request: Request | None = None,
) -> Breach | None:
    """What a rule says of a body; pointers are written in full, as where a schema declares every name."""
    has_body = body is not NO_DOCUMENT
    given = Given(
        world.request() if request is None else request,
        student() if caller is None else caller,
        Facts() if facts is None else facts,
        now,
        has_body=has_body,
        document=body if has_body else None,  # type: ignore[arg-type]
        pointer=lambda path: "".join(f"/{step}" for step in path),
    )
    return compile_rule("rule", RULE.validate_python(dict(rule)), schemas).rule.check(given)


def places(breach: Breach | None) -> set[tuple[str, str]]:
    """Pointer and rule of everything that was found."""
    return set() if breach is None else {(one.pointer, one.rule) for one in breach.errors}


def student(subject: str = "child_1", role: str = "student", **claims: JsonValue) -> Principal:
    """A token's holder with these claims."""
    return Principal(Kind.TOKEN, subject=subject, role=role, tier="free", issuer="customer", claims=claims)


def consent(**changes: object) -> Consent:
    good = Consent(
        consent_id="c_1",
        child="child_1",
        parent="parent_1",
        purposes=frozenset({"education"}),
        granted_at=NOW - 1000,
        expires_at=NOW + 1000,
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def consents(*held: Consent, usable_until: float = float("inf")) -> Facts:
    by_child: dict[str, tuple[Consent, ...]] = {}
    for one in held:
        by_child[one.child] = (*by_child.get(one.child, ()), one)
    return Facts(consents=Consents(by_child, usable_until))
