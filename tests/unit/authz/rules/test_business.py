"""Rules at the end of the pipeline: enforced, in shadow, off; what a refusal says, and what it never says."""

import pytest

from authz.checks import business
from authz.checks.rules.content import ContentCheck
from authz.checks.rules.patterns import PatternSet
from authz.decision import Decision, FieldError, Shadowed
from authz.pipeline import decide
from authz.problem import problem_body
from authz.reasons import Reason
from authz.rules import Rules, compile_rules
from policy.model import Gateway
from policy.rules import RuleMode
from tests.unit.authz import world

NO_SECRETS = {
    "type": "content",
    "categories": {"secrets": {"project": "project manhattan"}},
    "refusal": "We do not speak of this.",
}
ADULTS = {"type": "age", "partners": True}


def gateway(rules: dict[str, object], names: list[str], **route: object) -> Gateway:
    content = {"path": "/api/marketing/content", "body": {"POST": "content"}, "upstream": "service", "rules": names}
    routes = {**ROUTES, "content": {**content, **route}}
    return world.policy(rules=rules, routes=routes)


ROUTES = {name: route.model_dump(exclude_none=True, mode="json") for name, route in world.policy().routes.items()}


def ask(rules: Rules, topic: str = "Project Manhattan", **claims: object) -> Decision:
    body = {**world.CONTENT, "topic": topic}
    token = world.token(**claims)  # type: ignore[arg-type]
    request = world.request(method="POST", token=token, json_body=body, rules=rules)
    return decide(request, rules, world.facts(), world.NOW)


def test_a_rule_refuses_with_its_place_its_category_and_its_own_words() -> None:
    decision = ask(compile_rules(gateway({"secrets": NO_SECRETS}, ["secrets"])))
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.CONTENT_REFUSED
    assert decision.refusal.cause == "rule secrets"
    assert decision.refusal.errors == (FieldError("/topic", "secrets.project"),)
    body = problem_body(decision.refusal, "r-1")
    assert "We do not speak of this." in body
    assert "anhattan" not in body


@pytest.mark.requirement("R66")
def test_a_route_without_rules_is_as_before() -> None:
    assert ask(compile_rules(gateway({"secrets": NO_SECRETS}, []))).allowed


def test_in_shadow_it_is_told_and_passes() -> None:
    shadow = {**NO_SECRETS, "mode": "shadow"}
    decision = ask(compile_rules(gateway({"secrets": shadow}, ["secrets"])))
    assert decision.allowed
    assert decision.shadowed == (Shadowed("secrets", Reason.CONTENT_REFUSED),)
    assert ask(compile_rules(gateway({"secrets": shadow}, ["secrets"])), "else").shadowed == ()


def test_off_it_is_not_there() -> None:
    rules = compile_rules(gateway({"secrets": {**NO_SECRETS, "mode": "off"}}, ["secrets"]))
    assert rules.routes["content"].methods["POST"].rules == ()
    assert ask(rules).shadowed == ()


def test_the_first_enforced_rule_refuses_and_those_in_shadow_still_tell() -> None:
    rules = {
        "adults": ADULTS,
        "secrets": NO_SECRETS,
        "trial": {**NO_SECRETS, "mode": "shadow"},
    }
    decision = ask(compile_rules(gateway(rules, ["secrets", "adults", "trial"])), age=40)
    assert decision.refusal is not None
    assert decision.refusal.cause == "rule secrets"
    assert decision.shadowed == (Shadowed("trial", Reason.CONTENT_REFUSED),)
    young = ask(compile_rules(gateway(rules, ["adults", "secrets"])), age=2)
    assert young.refusal is not None
    assert young.refusal.reason is Reason.AGE_UNVERIFIED


@pytest.mark.parametrize(("mode", "allowed"), [("enforce", False), ("shadow", True)])
def test_a_rule_that_fails_refuses_and_in_shadow_fails_nobody(
    mode: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Project Manhattan")

    monkeypatch.setattr(ContentCheck, "check", fail)
    decision = ask(compile_rules(gateway({"secrets": {**NO_SECRETS, "mode": mode}}, ["secrets"])))
    assert decision.allowed is allowed
    if decision.refusal is not None:
        assert decision.refusal.reason is Reason.RULE_REFUSED
        assert "Manhattan" not in problem_body(decision.refusal, "r-1")
    else:
        assert decision.shadowed == (Shadowed("secrets", Reason.RULE_REFUSED),)


def test_rules_come_after_everything_else() -> None:
    rules = compile_rules(gateway({"secrets": NO_SECRETS, "adults": ADULTS}, ["adults", "secrets"]))
    without_scope = ask(rules, scopes=["sales:*"])
    assert without_scope.refusal is not None
    assert without_scope.refusal.reason is Reason.INSUFFICIENT_SCOPE
    invalid = ask(rules, topic="")
    assert invalid.refusal is not None
    assert invalid.refusal.reason is Reason.BODY_INVALID


def test_a_rule_about_bodies_holds_where_there_is_one_and_others_everywhere() -> None:
    rules = compile_rules(gateway({"secrets": NO_SECRETS, "adults": ADULTS}, ["adults", "secrets"]))
    methods = rules.routes["content"].methods
    assert [rule.name for rule in methods["POST"].rules] == ["adults", "secrets"]
    assert [rule.name for rule in methods["GET"].rules] == ["adults"]


def test_a_rule_can_be_for_some_methods_alone() -> None:
    rules = compile_rules(gateway({"adults": {**ADULTS, "methods": ["POST"]}}, ["adults"]))
    methods = rules.routes["content"].methods
    assert [len(methods[method].rules) for method in ("GET", "POST")] == [0, 1]


def test_only_claims_that_rules_read_are_kept_of_a_token() -> None:
    plain = compile_rules(gateway({"secrets": NO_SECRETS}, ["secrets"]))
    assert ask(plain, age=40, birthdate="2000-01-01").principal.claims == {}
    expression = {"type": "expression", "require": "caller.claims.team == 'a'", "claims": ["team"]}
    reading = compile_rules(gateway({"team": expression, "adults": ADULTS}, ["team", "adults"]))
    decision = ask(reading, age=40, team="a", salary=1)
    assert decision.principal.claims == {"age": 40, "team": "a"}
    assert decision.allowed
    assert not ask(reading, age=40, team="b").allowed


def test_names_that_the_schema_does_not_know_stand_as_a_star() -> None:
    open_schema = {"type": "object", "properties": {"known": {"type": "object"}}}
    policy = gateway({"secrets": NO_SECRETS}, ["secrets"])
    policy = policy.model_copy(update={"schemas": {**policy.schemas, "content": open_schema}})
    rules = compile_rules(policy)
    body = {"known": {"Project Manhattan": "x"}, "mine": "Project Manhattan"}
    request = world.request(method="POST", token=world.token(), json_body=body, rules=rules)
    refusal = decide(request, rules, world.facts(), world.NOW).refusal
    assert refusal is not None
    assert {error.pointer for error in refusal.errors} == {"/known/*", "/*"}


def test_patterns_that_need_too_much_memory_are_an_unusable_policy() -> None:
    huge = {f"p{index}": "(a{1,200}b{1,200}){1,4}" for index in range(400)}
    with pytest.raises(ValueError, match="too large"):
        gateway({"huge": {"type": "content", "categories": {"c": huge}}}, ["huge"])
    with pytest.raises(ValueError, match="memory"):
        PatternSet(huge.items())


def test_every_mode_has_a_meaning() -> None:
    assert [mode.value for mode in RuleMode] == ["off", "shadow", "enforce"]
    assert business.check_rules.__name__ == "check_rules"
