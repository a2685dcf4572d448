"""Kept checks: what is kept of them, and what another policy would make of them - or that it cannot be known."""

import json

import pytest

from authz.audit import Pseudonyms
from authz.modes import in_mode
from authz.pipeline import decide
from authz.replay import Change, Replayed, replayed
from authz.request import Request
from authz.rules import compile_rules
from authz.samples import Sample, sample_of
from policy.model import Gateway
from tests.unit.authz.world import (
    AGENT_SECRET,
    API_KEY,
    CONTENT,
    CONTENT_SCHEMA,
    NOW,
    agents_policy,
    facts,
    policy,
    request,
    signed,
    token,
)

KEEPING = {"sample": 1.0}
NOW_IN_FORCE = policy(replay=KEEPING)


def kept(asked: Request, gateway: Gateway = NOW_IN_FORCE) -> Sample | None:
    """What is kept of a request under a policy, through a line of the file."""
    rules = compile_rules(gateway)
    asked.policy = rules.version
    decision = in_mode(asked, decide(asked, rules, facts(), NOW))
    sample = sample_of(asked, decision, rules, NOW, Pseudonyms(b"key"))
    return None if sample is None else Sample.of_line(sample.line())


def under(candidate: Gateway, asked: Request, before: Gateway = NOW_IN_FORCE) -> Replayed:
    sample = kept(asked, before)
    assert sample is not None
    return replayed(sample, candidate, compile_rules(candidate))


def route(**changes: object) -> Gateway:
    """The policy with another route for content."""
    routes = policy().model_dump(mode="json", exclude_defaults=True)["routes"]
    changed = {name: value for name, value in {**routes["content"], **changes}.items() if value is not None}
    return policy(routes={**routes, "content": changed})


ASKED = {
    "nobody": request(),
    "no token": request(token="garbage"),
    "expired": request(token=token(exp=NOW - 100, iat=NOW - 200)),
    "a customer": request(token=token()),
    "a student": request(token=token(role="student")),
    "no scope": request(token=token(scopes=[])),
    "a partner": request(key=API_KEY),
    "another's partner": request(key=API_KEY[:-1]),
    "two credentials": request(key=API_KEY, token=token()),
    "writes": request(method="POST", token=token(), json_body=CONTENT),
    "writes badly": request(method="POST", token=token(), json_body={}),
    "writes nothing": request(method="POST", token=token()),
    "another method": request(method="PUT", token=token()),
    "elsewhere": request("office", address="198.51.100.1", token=token()),
    "the office": request("office", token=token()),
    "everybody": request("docs"),
    "an escape": request(path="/api/marketing/content//x"),
    "a credential in the url": request(path="/api/marketing/content?token=x"),
}


@pytest.mark.parametrize("mode", ["enforce", "optional", "shadow", "off"])
@pytest.mark.parametrize("name", ASKED)
def test_the_same_policy_changes_nothing(name: str, mode: str) -> None:
    before = policy(replay=KEEPING, mode=mode)
    assert under(before, ASKED[name], before).change is Change.NONE


@pytest.mark.parametrize(
    ("name", "candidate", "change", "before", "after"),
    [
        ("a customer", policy(callers={"tokens": {"admin": ["admin"]}}), "newly_refused", "", "caller_not_admitted"),
        ("a customer", policy(tiers=["free"]), "newly_refused", "", "tier_not_admitted"),
        ("a customer", route(scopes="secret"), "newly_refused", "", "insufficient_scope"),
        ("a customer", route(networks=["nobody"]), "newly_refused", "", "address_not_allowed"),
        ("a customer", route(methods={"POST": "write"}), "newly_refused", "", "method_not_allowed"),
        ("a customer", route(path="/api/marketing/elsewhere"), "newly_refused", "", "not_found"),
        ("a customer", route(maintenance={"message": "soon"}), "newly_refused", "", "maintenance"),
        ("a customer", policy(mode="off"), "none", "", ""),
        ("a partner", policy(callers={"tokens": {"customer": ["customer"]}}), "newly_refused", "", "token_missing"),
        ("nobody", policy(mode="optional"), "newly_admitted", "token_missing", ""),
        ("nobody", policy(mode="shadow"), "newly_admitted", "token_missing", "token_missing"),
        ("nobody", route(access="public"), "newly_admitted", "token_missing", ""),
        ("no token", policy(mode="optional"), "none", "token_invalid", ""),
        ("no token", policy(callers={"partners": True}), "other_reason", "token_invalid", "key_missing"),
        ("a student", policy(callers={"tokens": {"customer": ["student"]}}), "newly_admitted", "caller_not_admitted",
         ""),
        ("no scope", route(scopes=None, networks=["nobody"]), "other_reason", "insufficient_scope",
         "address_not_allowed"),
        ("the office", policy(networks={"internal": [], "office": ["203.0.113.0/24"], "nobody": []}), "newly_refused",
         "", "address_not_allowed"),
        ("writes", route(body={}), "none", "", ""),
        ("writes badly", route(body={}), "newly_admitted", "body_invalid", ""),
        ("writes", policy(schemas={"content": {**CONTENT_SCHEMA, "maxProperties": 2}, "message": {}}), "unknown", "",
         "its body was not kept"),
        ("writes nothing", policy(schemas={"content": {}, "message": {}}), "none", "body_missing", ""),
        ("everybody", policy(mode="shadow"), "none", "", ""),
        ("elsewhere", policy(networks={"internal": [], "office": ["0.0.0.0/0"], "nobody": []}), "unknown",
         "address_not_allowed", "its credential was not looked at"),
        ("an escape", policy(mode="off"), "none", "path_invalid", ""),
        ("a credential in the url", policy(mode="off"), "newly_admitted", "credentials_in_url", ""),
    ],
)  # fmt: skip
def test_a_candidate_changes_what_it_says(name: str, candidate: Gateway, change: str, before: str, after: str) -> None:
    found = under(candidate, ASKED[name])
    assert found.change.value == change, found
    assert found.before == before
    if after or change != "none":
        assert found.after == after


def test_an_issuer_that_asks_for_something_else_is_not_guessed_about() -> None:
    issuers = policy().model_dump(mode="json", exclude_defaults=True)["issuers"]
    other = {**issuers, "customer": {**issuers["customer"], "audience": "https://other.example.com"}}
    assert under(policy(issuers=other), ASKED["a customer"]).change is Change.UNKNOWN
    gone = policy(issuers={"admin": issuers["admin"]}, callers={"tokens": {"admin": ["admin"]}})
    assert under(gone, ASKED["a customer"]).after == "token_invalid"


def test_with_bodies_a_new_schema_is_tried() -> None:
    before = policy(replay={**KEEPING, "bodies": True})
    narrower = policy(schemas={"content": {**CONTENT_SCHEMA, "maxProperties": 2}, "message": {}})
    found = under(narrower, ASKED["writes"], before)
    assert (found.change, found.after) == (Change.NEWLY_REFUSED, "body_invalid")
    wider = policy(schemas={"content": {}, "message": {}})
    assert under(wider, ASKED["writes badly"], before).change is Change.NEWLY_ADMITTED


def test_what_shadow_would_say_otherwise_is_told_apart_from_what_is_refused() -> None:
    shadow = policy(replay=KEEPING, mode="shadow")
    found = under(policy(mode="shadow", tiers=["free"]), ASKED["a customer"], shadow)
    assert (found.change, found.before, found.after) == (Change.SHADOW, "", "tier_not_admitted")
    assert under(policy(), ASKED["nobody"], shadow).change is Change.NEWLY_REFUSED


def test_a_signed_request_is_replayed_without_its_signature() -> None:
    before = agents_policy(replay=KEEPING)
    assert under(agents_policy(), signed(), before).change is Change.NONE
    found = under(agents_policy(tiers=["free"]), signed(), before)
    assert (found.change, found.after) == (Change.NEWLY_REFUSED, "tier_not_admitted")


@pytest.mark.attack("A58")
@pytest.mark.requirement("R95")
@pytest.mark.parametrize("gateway", [policy(replay=KEEPING), policy(replay={**KEEPING, "bodies": True})])
def test_no_sample_holds_a_credential_a_query_or_a_name(gateway: Gateway) -> None:
    text = token(tenant_id="acme", email="someone@example.com")
    asking = request(
        method="POST",
        path="/api/marketing/content?page=2&who=someone",
        token=text,
        json_body=CONTENT,
        headers={"cookie": "session=abcdef", "x-secret": "hunter2", "user-agent": "curl"},
    )
    for asked in (asking, request(key=API_KEY), signed()):
        found = kept(asked, gateway if asked.gateway == "marketing" else agents_policy(replay=KEEPING))
        assert found is not None
        line = json.dumps(json.loads(found.line()))
        for secret in (*text.split("."), API_KEY, API_KEY[12:], AGENT_SECRET.decode(), "sig1", "abcdef", "hunter2"):
            assert secret not in line
        assert "user_1" not in line
        assert "someone" not in line
        assert str(CONTENT["topic"]) not in line


def test_a_path_with_a_credential_is_not_kept_at_all() -> None:
    assert kept(request(path=f"/api/marketing/content/{API_KEY}")) is None
    assert kept(request(path=f"/api/marketing/content/{token()}")) is None


@pytest.mark.parametrize("secret", [token(), API_KEY, "ada@example.com"], ids=["token", "key", "person"])
def test_what_a_client_hides_in_a_header_that_is_kept_is_not_kept(secret: str) -> None:
    hidden = f"application/json; boundary={secret}"
    assert kept(request(token=token(), headers={"content-type": hidden})) is None
    assert kept(request(token=token(), headers={"upgrade": secret})) is None
    elsewhere = request(token=token())
    elsewhere.authority = f"{secret}.example.com"
    sample = kept(elsewhere)
    assert sample is None or secret not in sample.line().decode()


def test_a_line_that_is_no_sample_is_no_sample() -> None:
    for line in (b"", b"{", b"[]", b"{}", b'{"at": 1}', b'"x"'):
        with pytest.raises(ValueError, match=r".*"):
            Sample.of_line(line)
