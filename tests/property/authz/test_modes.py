"""Whatever is asked: shadow says what enforce says and refuses no decision; explaining agrees with deciding."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.decision import Decision
from authz.examination import Said, examine
from authz.modes import UNCONDITIONAL, in_mode
from authz.pipeline import decide
from authz.principal import Kind
from authz.reasons import Reason
from authz.request import Request
from authz.rules import compile_rules
from policy.modes import Mode
from tests.unit.authz.test_authorizer import World
from tests.unit.authz.world import API_KEY, CONTENT, NOW, facts, policy, request, token

RULES = {mode: compile_rules(policy(mode=mode.value)) for mode in Mode}
FACTS = facts()
TOKENS = (
    None,
    "",
    "garbage",
    token(),
    token(role="student"),
    token(scopes=[]),
    token(tier="platinum"),
    token(tier="internal"),
    token(exp=NOW - 100, iat=NOW - 200),
    token(header={"kid": "other"}),
)
ROUTES = ("content", "plain", "exact", "office", "nobody", "docs", "admin", "nowhere")
PATHS = ("", "/below", "?a=b", "?token=x", "/..%2fdocs", "//", "/%00", "/a;b")
ADDRESSES = (None, "192.0.2.7", "198.51.100.1", "10.0.0.1", "2001:db8::1", "not an address")
BODIES: tuple[bytes | None, ...] = (None, b"", b"{}", b"{", b'{"topic": 1}', json.dumps(CONTENT).encode())


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request to the gateway of the tests, good or bad in any of its parts."""
    route = draw(st.sampled_from(ROUTES))
    headers: dict[str, str] = {}
    for name, values in {
        "x-api-key": (None, API_KEY, "nonsense"),
        "signature": (None, None, "sig1=:AAAA:"),
        "content-type": (None, "application/json", "text/plain"),
        "x-waooaw-subject": (None, "root"),
    }.items():
        value = draw(st.sampled_from(values))
        if value is not None:
            headers[name] = value
    made = request(
        route,
        f"/api/marketing/{route}{draw(st.sampled_from(PATHS))}",
        draw(st.sampled_from(("GET", "POST", "PUT", "BREW"))),
        headers,
        token=draw(st.sampled_from(TOKENS)),
        body=draw(st.sampled_from(BODIES)),
        address=draw(st.sampled_from(ADDRESSES)),
    )
    changes: Mapping[str, object] = draw(
        st.sampled_from(({}, {}, {}, {"listener": "inner"}, {"listener": "other"}, {"defect": Reason.HEADER_INVALID}))
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def decided(asked: Request, mode: Mode) -> Decision:
    rules = RULES[mode]
    return decide(replace(asked, policy=rules.version), rules, FACTS, NOW)


def settled(asked: Request, mode: Mode) -> Decision:
    return in_mode(asked, decided(asked, mode))


@settings(max_examples=300, deadline=None)
@given(requests())
def test_shadow_waives_exactly_what_enforce_refuses_and_tells_nothing_that_was_not_verified(asked: Request) -> None:
    strict, shadow = settled(asked, Mode.ENFORCE), settled(asked, Mode.SHADOW)
    if strict.refusal is None:
        assert shadow.refusal is None
        assert shadow.waived is None
        assert shadow.principal.identity == strict.principal.identity
    elif strict.refusal.reason in UNCONDITIONAL:
        assert shadow.refusal == strict.refusal
        assert shadow.waived is None
    else:
        assert shadow.refusal is None
        assert shadow.waived == strict.refusal
        verified = strict.principal.kind is not Kind.ANONYMOUS
        assert any(shadow.principal.identity) == verified


@settings(max_examples=300, deadline=None)
@given(requests())
def test_no_mode_refuses_what_enforce_admits_and_optional_believes_nothing_bad(asked: Request) -> None:
    strict = settled(asked, Mode.ENFORCE)
    found = {mode: settled(asked, mode) for mode in Mode}
    if strict.allowed:
        assert all(one.allowed for one in found.values())
    optional = found[Mode.OPTIONAL]
    if strict.refusal is not None and strict.refusal.status == 401 and optional.allowed:
        assert not {"authorization", "x-api-key", "signature", "signature-input"} & asked.headers.keys()
        assert not any(optional.principal.identity)
    refusal = found[Mode.OFF].refusal
    assert refusal is None or refusal.reason in UNCONDITIONAL
    assert not any(found[Mode.OFF].principal.identity)


@settings(max_examples=300, deadline=None)
@given(requests(), st.sampled_from(Mode))
def test_what_is_explained_is_what_is_decided(asked: Request, mode: Mode) -> None:
    rules = RULES[mode]
    there = replace(asked, policy=rules.version)
    found = examine(there, rules, FACTS, NOW)
    decision = in_mode(there, decide(there, rules, FACTS, NOW))
    assert (found.decision.refusal, found.decision.waived) == (decision.refusal, decision.waived)
    assert found.decision.principal.identity == decision.principal.identity
    if found.verdicts:
        first = next((one.refusal for one in found.verdicts if one.said is Said.REFUSED), None)
        assert first == found.refusal


@settings(max_examples=100, deadline=None)
@given(requests())
def test_in_shadow_the_whole_authorizer_ends_as_the_pure_part_says(asked: Request) -> None:
    rules = RULES[Mode.SHADOW]
    there = replace(asked, policy=rules.version)
    ended = asyncio.run(World(rules).authorizer.authorize(there))
    wanted = settled(asked, Mode.SHADOW)
    assert (ended.refusal, ended.waived) == (wanted.refusal, wanted.waived)
