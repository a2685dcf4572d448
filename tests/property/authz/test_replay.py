"""Whatever was kept: what replaying says that a candidate would do is what the candidate does, or it says nothing."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.audit import Pseudonyms
from authz.modes import in_mode
from authz.pipeline import decide
from authz.replay import Change, replayed
from authz.request import Request
from authz.rules import Rules, compile_rules
from authz.samples import Sample, sample_of
from policy.model import Gateway
from policy.modes import Mode
from policy.routing import Match, matched
from tests.property.authz.test_modes import FACTS, requests
from tests.unit.authz.world import NOW, policy

KEEPING = {"sample": 1.0}


def _without(mode: Mode, **routes: dict[str, object]) -> Gateway:
    """The policy of the tests in a mode, some of its routes otherwise."""
    written = policy().model_dump(mode="json", exclude_defaults=True)["routes"]
    changed = {name: {**route, **routes.get(name, {})} for name, route in written.items()}
    return policy(replay=KEEPING, mode=mode.value, routes=changed)


IN_FORCE = {mode: _without(mode) for mode in Mode}
CANDIDATES = (
    *IN_FORCE.values(),
    _without(Mode.ENFORCE, content={"scopes": "secret"}),
    _without(Mode.ENFORCE, content={"methods": {"GET": "read"}, "body": {}}),
    _without(Mode.ENFORCE, content={"mode": "shadow"}, plain={"mode": "optional"}),
    _without(Mode.SHADOW, content={"tiers": ["enterprise"]}, plain={"networks": ["office"]}),
    _without(Mode.OPTIONAL, content={"callers": {"partners": True}}),
)
COMPILED: dict[str, Rules] = {}


def rules_of(gateway: Gateway) -> Rules:
    if gateway.version not in COMPILED:
        COMPILED[gateway.version] = compile_rules(gateway)
    return COMPILED[gateway.version]


def settled(asked: Request, gateway: Gateway) -> tuple[str, str]:
    """Why it is refused, and what shadow lets pass."""
    rules = rules_of(gateway)
    decision = in_mode(asked, decide(replace(asked, policy=rules.version), rules, FACTS, NOW))
    return (
        "" if decision.refusal is None else decision.refusal.reason.value,
        "" if decision.waived is None else decision.waived.reason.value,
    )


def kept(asked: Request, gateway: Gateway) -> Sample | None:
    rules = rules_of(gateway)
    there = replace(asked, policy=rules.version)
    decision = in_mode(there, decide(there, rules, FACTS, NOW))
    sample = sample_of(there, decision, rules, NOW, Pseudonyms(b"key"))
    return None if sample is None else Sample.of_line(sample.line())


@settings(max_examples=400, deadline=None)
@given(requests(), st.sampled_from(Mode), st.sampled_from(CANDIDATES))
def test_what_is_replayed_is_what_a_candidate_decides(asked: Request, mode: Mode, candidate: Gateway) -> None:
    sample = kept(asked, IN_FORCE[mode])
    if sample is None:
        return
    found = replayed(sample, candidate, rules_of(candidate))
    way = matched(candidate, sample.listener, sample.path) if sample.listener in candidate.listeners else None
    if found.change is Change.UNKNOWN or not isinstance(way, Match):
        return
    refused, waived = settled(replace(asked, route=way.route), candidate)
    passed = sample.outcome != "denied"
    if found.change is Change.NONE:
        assert (refused, waived) == (("", sample.reason) if passed else (sample.reason, ""))
        return
    assert found.after == (refused or waived)
    assert (found.change is Change.NEWLY_REFUSED) == (bool(refused) and passed)
    assert (found.change is Change.NEWLY_ADMITTED) == (not refused and not passed)
