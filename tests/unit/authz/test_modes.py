"""The four modes: what each lets pass, as whom, and that only shadow and only decisions of policy are waived."""

import pytest

from authz.decision import Decision, Refusal
from authz.facts import Facts
from authz.modes import UNCONDITIONAL, in_mode
from authz.nonces import MemoryNonceStore
from authz.principal import NOBODY, Kind
from authz.reasons import Reason
from authz.request import Request
from authz.rules import Rules
from authz.wire import write_allowed
from policy.modes import Mode
from protos import ext_authz_pb2 as pb
from tests.unit.authz.test_authorizer import BrokenStore, World
from tests.unit.authz.world import (
    API_KEY,
    CONTENT,
    NOW,
    agents_policy,
    agents_rules,
    policy,
    request,
    rules,
    signed,
    token,
)

IN = {mode: rules(mode=mode.value) for mode in Mode}
FORGED = {"x-waooaw-subject": "root", "x-user-id": "root"}


def asked(mode: Mode, *arguments: str, **options: object) -> Request:
    return request(*arguments, rules=IN[mode], **options)  # type: ignore[arg-type]


async def ended(mode: Mode, *arguments: str, **options: object) -> Decision:
    return await World(IN[mode]).authorizer.authorize(asked(mode, *arguments, **options))


def why(decision: Decision) -> Reason | None:
    return None if decision.refusal is None else decision.refusal.reason


def waived(decision: Decision) -> Reason | None:
    return None if decision.waived is None else decision.waived.reason


def test_a_policy_that_names_no_mode_keeps_its_version_and_enforces() -> None:
    assert policy().version == policy(mode="enforce").version == policy(replay=None).version
    assert policy().version != policy(mode="shadow").version
    assert all(route.mode is Mode.ENFORCE for route in rules().routes.values())


def test_a_route_s_own_mode_stands_before_the_gateway_s() -> None:
    routes = {
        "a": {"path": "/a", "upstream": "service"},
        "b": {"path": "/b", "upstream": "service", "mode": "optional"},
    }
    known = rules(mode="shadow", routes=routes)
    assert (known.routes["a"].mode, known.routes["b"].mode) == (Mode.SHADOW, Mode.OPTIONAL)


REFUSED: dict[str, tuple[dict[str, object], Reason, bool]] = {
    "no credential": ({}, Reason.TOKEN_MISSING, False),
    "no token": ({"token": "garbage"}, Reason.TOKEN_INVALID, False),
    "expired": ({"token": token(exp=NOW - 100, iat=NOW - 200)}, Reason.TOKEN_EXPIRED, False),
    "two credentials": ({"token": token(), "key": API_KEY}, Reason.CREDENTIALS_AMBIGUOUS, False),
    "no key": ({"key": API_KEY[:-1]}, Reason.KEY_INVALID, False),
    "another role": ({"token": token(role="student")}, Reason.CALLER_NOT_ADMITTED, True),
    "another scope": ({"token": token(scopes=["x:read"])}, Reason.INSUFFICIENT_SCOPE, True),
    "no tier": ({"token": token(tier="platinum")}, Reason.TIER_UNKNOWN, True),
    "another tier": ({"token": token(tier="internal")}, Reason.TIER_NOT_ADMITTED, True),
    "no body": ({"token": token()}, Reason.BODY_MISSING, True),
    "a bad body": ({"token": token(), "json_body": {}}, Reason.BODY_INVALID, True),
}


@pytest.mark.requirement("R109")
@pytest.mark.parametrize("case", REFUSED)
async def test_shadow_waives_what_enforce_refuses_and_tells_services_only_what_was_verified(case: str) -> None:
    options, reason, identified = REFUSED[case]
    refused = await ended(Mode.ENFORCE, method="POST", **options)
    passed = await ended(Mode.SHADOW, method="POST", **options)
    assert (why(refused), why(passed), waived(passed)) == (reason, None, reason)
    assert any(passed.principal.identity) == identified


@pytest.mark.parametrize(
    ("route", "options"),
    [
        ("office", {"address": "198.51.100.1", "token": token()}),
        ("content", {"method": "PUT", "token": token()}),
        ("docs", {"method": "PUT"}),
        ("content", {"path": "/api/marketing/content?access_token=x", "token": token()}),
    ],
)
async def test_shadow_waives_networks_methods_and_credentials_in_urls(route: str, options: dict[str, object]) -> None:
    refused = await ended(Mode.ENFORCE, route, **options)
    passed = await ended(Mode.SHADOW, route, **options)
    assert why(refused) is not None
    assert waived(passed) is why(refused)


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.OPTIONAL])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"route": "other", "path": "/x"}, Reason.ROUTE_UNKNOWN),
        ({"route": "plain", "path": "/api/marketing/content"}, Reason.ROUTE_MISMATCH),
        ({"listener": "other"}, Reason.LISTENER_UNKNOWN),
        ({"policy": "0000"}, Reason.POLICY_UNKNOWN),
        ({"gateway": "sales"}, Reason.GATEWAY_UNKNOWN),
        ({"defect": Reason.CHECK_EMPTY}, Reason.CHECK_EMPTY),
        ({"defect": Reason.HEADER_INVALID}, Reason.HEADER_INVALID),
        ({"path": "/api/marketing/content/..%2f"}, Reason.PATH_INVALID),
        ({"authority": "a b"}, Reason.HEADER_INVALID),
        ({"path": "/api/marketing/content?" + "a" * 9000}, Reason.QUERY_INVALID),
    ],
)
async def test_no_mode_waives_what_is_no_decision_of_policy(
    mode: Mode, changes: dict[str, object], reason: Reason
) -> None:
    decision = await ended(mode, token=token(), **changes)
    assert (why(decision), waived(decision)) == (reason, None)


def test_every_reason_is_waived_in_shadow_or_is_on_the_list_of_those_that_never_are() -> None:
    route = IN[Mode.SHADOW].routes["content"]
    for reason in Reason:
        found = in_mode(asked(Mode.SHADOW), Decision(Refusal(reason), NOBODY, route))
        assert found.allowed == (reason not in UNCONDITIONAL), reason


@pytest.mark.requirement("R109")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, None),
        ({"headers": {"cookie": "session=1"}}, None),
        ({"token": "garbage"}, Reason.TOKEN_INVALID),
        ({"token": token(exp=NOW - 100, iat=NOW - 200)}, Reason.TOKEN_EXPIRED),
        ({"headers": {"authorization": ""}}, Reason.TOKEN_MISSING),
        ({"headers": {"authorization": "Basic dTpw"}}, Reason.TOKEN_MISSING),
        ({"headers": {"signature": "sig1=:AAAA:"}}, Reason.TOKEN_MISSING),
        ({"key": "nonsense"}, Reason.KEY_INVALID),
        ({"token": token()}, None),
        ({"token": token(scopes=[])}, Reason.INSUFFICIENT_SCOPE),
        ({"token": token(role="student")}, Reason.CALLER_NOT_ADMITTED),
        ({"token": token(tier="platinum")}, Reason.TIER_UNKNOWN),
        ({"method": "PUT"}, Reason.METHOD_NOT_ALLOWED),
        ({"method": "POST"}, Reason.BODY_MISSING),
        ({"method": "POST", "json_body": {}}, Reason.BODY_INVALID),
        ({"method": "POST", "json_body": CONTENT}, None),
        ({"path": "/api/marketing/content?api_key=x"}, Reason.CREDENTIALS_IN_URL),
    ],
)
async def test_optional_asks_nobody_who_they_are_and_believes_nobody(
    options: dict[str, object], reason: Reason | None
) -> None:
    decision = await ended(Mode.OPTIONAL, **options)
    assert (why(decision), decision.waived) == (reason, None)
    if not options.get("token"):
        assert not any(decision.principal.identity)


async def test_optional_admits_only_from_where_policy_says() -> None:
    assert why(await ended(Mode.OPTIONAL, "office", address="198.51.100.1")) is Reason.ADDRESS_NOT_ALLOWED


async def test_off_asks_for_nothing_and_says_nothing_of_the_caller() -> None:
    for options in ({}, {"token": token()}, {"token": "x", "method": "BREW"}, {"address": None}, {"body": b"{"}):
        decision = await ended(Mode.OFF, "nobody", **options)
        assert decision.allowed
        assert decision.principal.kind is Kind.ANONYMOUS
        assert decision.waived is None


@pytest.mark.attack("A37")
@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.OPTIONAL])
async def test_headers_that_claim_an_identity_and_credentials_are_removed(mode: Mode) -> None:
    asking = asked(mode, headers=FORGED)
    decision = await World(IN[mode]).authorizer.authorize(asking)
    route = decision.route
    assert route is not None
    raw = write_allowed(decision.principal, route, ["x-user-id"])
    ok = pb.CheckResponse.FromString(raw)
    assert not ok.ok_response.headers
    assert {"x-waooaw-subject", "x-user-id", "authorization", "x-api-key"} <= set(ok.ok_response.headers_to_remove)


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.SHADOW, Mode.OPTIONAL])
async def test_whoever_is_unknown_is_limited_by_address_as_the_lowest_tier(mode: Mode) -> None:
    found = [await ended(mode, address=each) for each in ("192.0.2.7", "2001:db8:1:2:3:4:5:6")]
    answers = [
        pb.CheckResponse.FromString(write_allowed(one.principal, one.route)) for one in found if one.route is not None
    ]
    said = [{name: value.string_value for name, value in one.dynamic_metadata.fields.items()} for one in answers]
    assert [(one["tier"], one["caller"]) for one in said] == [
        ("free", "address:192.0.2.7"),
        ("free", "address:2001:db8:1:2::"),
    ]


async def test_a_tier_without_figures_is_limited_as_the_lowest_and_told_to_the_service_as_it_is() -> None:
    decision = await ended(Mode.SHADOW, token=token(tier="platinum"))
    assert decision.route is not None
    answer = pb.CheckResponse.FromString(write_allowed(decision.principal, decision.route))
    assert answer.dynamic_metadata.fields["tier"].string_value == "free"
    assert answer.dynamic_metadata.fields["caller"].string_value == "sub:user_1"
    sent = {one.header.key: one.header.value for one in answer.ok_response.headers}
    assert sent["x-waooaw-tier"] == "platinum"


SIGNED: Rules = agents_rules(mode="shadow")


@pytest.mark.attack("A19")
async def test_shadow_spends_nonces_and_a_replay_passes_as_nobody() -> None:
    world = World(SIGNED)
    asking = signed(policy=SIGNED.version)
    first = await world.authorizer.authorize(asking)
    again = await world.authorizer.authorize(asking)
    assert (first.waived, first.principal.agent) == (None, "content")
    assert (waived(again), again.principal.kind) == (Reason.SIGNATURE_REPLAYED, Kind.ANONYMOUS)


async def test_shadow_passes_as_nobody_while_nonces_cannot_be_looked_up() -> None:
    decision = await World(SIGNED, nonces=BrokenStore()).authorizer.authorize(signed(policy=SIGNED.version))
    assert (waived(decision), decision.principal.kind) == (Reason.NONCE_STORE_UNAVAILABLE, Kind.ANONYMOUS)


async def test_a_bad_signature_spends_no_nonce_in_shadow_either() -> None:
    nonces = MemoryNonceStore(clock=lambda: NOW)
    world = World(SIGNED, nonces=nonces)
    good = signed(policy=SIGNED.version, nonce="nonce-of-this-test")
    forged = signed(policy=SIGNED.version, nonce="nonce-of-this-test", secret=b"x" * 32)
    assert waived(await world.authorizer.authorize(forged)) is Reason.SIGNATURE_INVALID
    assert (await world.authorizer.authorize(good)).waived is None


async def test_what_shadow_lets_pass_is_not_held_against_an_address() -> None:
    strict = rules(routes={
        "content": {"path": "/api/marketing/content", "upstream": "service", "mode": "shadow"},
        "plain": {"path": "/api/marketing/plain", "upstream": "service"},
    })  # fmt: skip
    world = World(strict)
    for _ in range(30):
        assert waived(await world.authorizer.authorize(request(token="x", rules=strict))) is Reason.TOKEN_INVALID
    assert why(await world.authorizer.authorize(request("plain", token="x", rules=strict))) is Reason.TOKEN_INVALID


async def test_the_issuer_s_absence_passes_in_shadow_without_an_identity() -> None:
    world = World(IN[Mode.SHADOW])
    world.board.current = Facts()
    decision = await world.authorizer.authorize(asked(Mode.SHADOW, token=token()))
    assert waived(decision) is Reason.ISSUER_UNAVAILABLE
    assert not any(decision.principal.identity)


async def test_what_must_be_recorded_is_refused_in_shadow_where_it_cannot_be() -> None:
    strict = rules(mode="shadow", audit="required")
    decision = await World(strict).authorizer.authorize(request(rules=strict))
    assert why(decision) is Reason.AUDIT_UNAVAILABLE


async def test_each_mode_has_its_own_counter_and_shadow_its_own_outcome_in_the_audit() -> None:
    for mode, name, extra in (
        (Mode.SHADOW, "shadow", {"rule": "none", "reason": "token_missing"}),
        (Mode.OPTIONAL, "optional", {}),
        (Mode.OFF, "off", {}),
    ):
        world = World(IN[mode])
        await world.authorizer.authorize(asked(mode))
        labels = {"gateway": "marketing", "route": "content", **extra}
        assert world.registry.get_sample_value(f"apibank_authz_{name}_total", labels) == 1
        (event,) = world.witness.events
        wanted = ("shadowed", "token_missing", 200) if mode is Mode.SHADOW else ("allowed", "", 200)
        assert (event.outcome, event.reason, event.status, event.tier) == (*wanted, "")


async def test_public_routes_are_the_same_in_optional_and_enforce() -> None:
    for mode in (Mode.OPTIONAL, Mode.ENFORCE):
        assert (await ended(mode, "docs", token="x")).principal is NOBODY
        assert why(await ended(mode, "docs", method="PUT")) is Reason.METHOD_NOT_ALLOWED


def test_an_agents_gateway_can_be_in_every_mode() -> None:
    assert {agents_policy(mode=mode.value).mode for mode in Mode} == set(Mode)
