"""Policies as the checks want them."""

import pytest

from authz.request import MAX_BODY_BYTES
from authz.rules import PolicyUnusableError, compile_rules
from policy.model import Gateway
from tests.unit.authz.world import ISSUER, agents_policy, policy, rules


def test_rules_carry_the_version_of_their_policy() -> None:
    assert rules().version == policy().version
    assert rules(description="Another.").version != rules().version


def test_routes_take_what_they_do_not_say_from_the_gateway() -> None:
    content = rules().routes["content"]
    assert content.listeners == {"mesh", "inner"}
    assert content.tiers == {"free", "business", "enterprise"}
    assert content.namespace == "marketing"
    assert content.methods["GET"].scopes == {"marketing:read", "marketing:*"}
    assert content.methods["GET"].schema is None
    assert content.methods["POST"].schema is not None
    assert content.checks_body
    assert content.strips_credentials


def test_a_public_route_asks_for_no_scope() -> None:
    docs = rules().routes["docs"]
    assert docs.public
    assert docs.namespace == ""
    assert docs.methods["GET"].scopes == frozenset()


def test_an_agents_route_checks_bodies_for_their_digest() -> None:
    made = compile_rules(agents_policy())
    assert made.routes["opaque"].checks_body
    assert made.signatures is not None
    assert made.signatures.window == 60


def test_two_issuers_cannot_have_one_name() -> None:
    one = {"issuer": ISSUER, "audience": "a", "jwks": {"url": "https://a.example/jwks"}}
    with pytest.raises(PolicyUnusableError, match="same iss"):
        rules(issuers={"customer": one, "admin": one})


@pytest.mark.attack("A53")
def test_a_checked_body_must_fit_into_a_check() -> None:
    route = {"path": "/api/marketing/plain", "upstream": "service", "max_body_bytes": MAX_BODY_BYTES + 1}
    assert rules(routes={"plain": route})
    with pytest.raises(PolicyUnusableError, match="plain"):
        rules(routes={"plain": {**route, "body": {"POST": "content"}}})


def test_a_schema_that_cannot_be_enforced_makes_the_policy_unusable() -> None:
    schemas = {"content": {"format": "no-such-format"}, "message": {}}
    with pytest.raises(PolicyUnusableError, match="content"):
        rules(schemas=schemas)


def test_of_a_changed_policy_the_routes_that_are_the_same_are_not_compiled_again() -> None:
    before = policy()
    former = compile_rules(before)
    name, other = list(before.routes)[:2]
    written = before.model_dump(mode="json", exclude_defaults=True)
    written["routes"][name]["max_body_bytes"] = 4321
    after = Gateway.model_validate(written)
    rules = compile_rules(after, former=(before, former))
    assert rules.routes[name].max_body == 4321
    assert rules.routes[other] is former.routes[other]
    assert rules.version == after.version != former.version


def test_where_anything_else_changes_every_route_is_compiled_again() -> None:
    before = policy()
    former = compile_rules(before)
    after = before.model_copy(update={"tiers": before.tiers[:1]})
    rules = compile_rules(after, former=(before, former))
    assert not any(each is former.routes[name] for name, each in rules.routes.items())
    plain = compile_rules(after)
    assert {name: each.tiers for name, each in rules.routes.items()} == {
        name: each.tiers for name, each in plain.routes.items()
    }
