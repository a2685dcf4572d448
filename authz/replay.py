"""Kept checks, decided again under another policy: what would change, where it can be known. No I/O and no clock."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from authz.case import Case
from authz.checks.callers import check_callers
from authz.checks.methods import check_method
from authz.checks.network import check_network
from authz.checks.schema import check_schema
from authz.checks.scopes import check_scopes
from authz.checks.sender import check_sender
from authz.checks.target import check_target
from authz.checks.tier import check_tier
from authz.decision import Decision, Refusal
from authz.facts import Facts
from authz.modes import UNCONDITIONAL, in_mode
from authz.principal import Kind, Principal
from authz.reasons import Reason
from authz.request import Request
from authz.rules import CallerRules, RouteRules, Rules
from authz.samples import SIGNATURE, TOKEN, Sample, came_to_identity, shown_to, trust_of
from policy.judged_by import judged_by
from policy.model import Gateway
from policy.modes import Mode
from policy.routing import Challenge, NoRoute, matched


class Change(StrEnum):
    """`shadow`: it passes under both, and shadow says something else of it. `unknown`: the sample says too little."""

    NONE = "none"
    NEWLY_REFUSED = "newly_refused"
    NEWLY_ADMITTED = "newly_admitted"
    OTHER_REASON = "other_reason"
    SHADOW = "shadow"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One check under both policies: its route and reason before and after, empty where it was admitted."""

    change: Change
    route: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class _Unknown:
    """Why it cannot be known."""

    why: str


_Said = Refusal | _Unknown | None
# In the order of the contract, around the identity, which is remembered and not verified anew.
_AHEAD: Final[tuple[Callable[[Case], Refusal | None], ...]] = (check_target, check_network)
_AFTER: Final[tuple[Callable[[Case], Refusal | None], ...]] = (check_method, check_callers, check_scopes, check_tier)
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OF_BODIES: Final = frozenset(
    {
        *(Reason.BODY_MISSING, Reason.BODY_NOT_ALLOWED, Reason.BODY_TOO_LARGE, Reason.BODY_MALFORMED),
        *(Reason.BODY_INVALID, Reason.CONTENT_TYPE_UNSUPPORTED, Reason.CONTENT_ENCODING_UNSUPPORTED),
        *(Reason.CONSENTS_UNAVAILABLE, Reason.AGE_UNVERIFIED, Reason.CONSENT_MISSING, Reason.PERSONAL_DATA),
        *(Reason.LAWFUL_BASIS_MISSING, Reason.CONTENT_REFUSED, Reason.CRM_INVALID, Reason.LEAD_SCORE_INVALID),
        *(Reason.RULE_REFUSED, Reason.SENDER_MISMATCH),
    }
)


def replayed(sample: Sample, gateway: Gateway, rules: Rules) -> Replayed:
    """The sample under another policy of its gateway; `rules` are that policy's."""
    passed_before = sample.outcome != "denied"
    before = "" if passed_before else sample.reason
    found = _again(sample, gateway, rules)
    if isinstance(found, _Unknown):
        return Replayed(Change.UNKNOWN, sample.route, before, found.why)
    if isinstance(found, str):
        change = Change.NEWLY_REFUSED if passed_before else Change.OTHER_REASON
        return Replayed(change, sample.route, before, found)
    if found.refusal is not None:
        after = found.refusal.reason.value
        if passed_before:
            return Replayed(Change.NEWLY_REFUSED, sample.route, before, after)
        return Replayed(Change.NONE if after == before else Change.OTHER_REASON, sample.route, before, after)
    waived = "" if found.waived is None else found.waived.reason.value
    if not passed_before:
        return Replayed(Change.NEWLY_ADMITTED, sample.route, before, waived)
    if waived != sample.reason:
        return Replayed(Change.SHADOW, sample.route, sample.reason, waived)
    return Replayed(Change.NONE, sample.route, before, "")


def _again(sample: Sample, gateway: Gateway, rules: Rules) -> Decision | _Unknown | str:
    """A decision; why there can be none; or what Envoy itself would refuse it with."""
    if sample.listener not in gateway.listeners:
        return Reason.LISTENER_UNKNOWN.value
    way = matched(gateway, sample.listener, sample.path)
    if isinstance(way, NoRoute):
        return "not_found" if way.status == 404 else "bad_request" if way.status == 400 else "redirected"
    if isinstance(way, Challenge):
        return _Unknown("it would be an ACME challenge")
    written = gateway.routes[way.route]
    if written.answered:
        return "maintenance" if written.maintenance is not None else "gone"
    route = rules.routes[way.route]
    case = Case(_request(sample, rules, route), rules, route, Facts(), sample.at)
    same_bodies = judged_by(gateway, written, sample.method) == sample.judged_by
    said = _judged(case, sample, same_bodies)
    if isinstance(said, _Unknown):
        return said
    return in_mode(case.request, Decision(said, case.principal, route))


def _judged(case: Case, sample: Sample, same_bodies: bool) -> _Said:
    # Of a request that was refused for what it is itself, the parts that say so were not kept.
    if sample.reason in UNCONDITIONAL:
        return Refusal(Reason(sample.reason))
    if case.route.mode is Mode.OFF:
        return check_target(case)
    for check in _AHEAD:
        refusal = check(case)
        if refusal is not None:
            return refusal
    if sample.in_url or sample.reason == Reason.CREDENTIALS_IN_URL:
        return Refusal(Reason.CREDENTIALS_IN_URL)
    said = _identity(case, sample)
    if said is not None:
        return said
    for check in _AFTER:
        refusal = check(case)
        if refusal is not None:
            return refusal
    return _bodies(case, sample, same_bodies)


def _identity(case: Case, sample: Sample) -> _Said:
    route = case.route
    if route.public:
        return None
    kinds = shown_to(route.callers, sample)
    if len(kinds) > 1:
        return Refusal(Reason.CREDENTIALS_AMBIGUOUS)
    if not kinds:
        if route.mode is Mode.OPTIONAL and not sample.shown:
            case.unknown = True
            return None
        return Refusal(_missing(route.callers))
    if not came_to_identity(sample) or sample.looked != kinds[0]:
        return _Unknown("its credential was not looked at")
    if sample.identity:
        return Refusal(Reason(sample.identity), "partner" if sample.identity == Reason.ADDRESS_NOT_ALLOWED else "")
    if sample.looked == TOKEN:
        issuer = next((one for one in case.rules.issuers.values() if one.name == sample.issuer), None)
        if issuer is None:
            return Refusal(Reason.TOKEN_INVALID, "iss")
        if trust_of(issuer) != sample.trust:
            return _Unknown("its token's issuer is another")
    if sample.looked == SIGNATURE and case.rules.signatures is None:
        return Refusal(Reason.SIGNATURE_INVALID)
    case.principal = _principal(sample)
    return None


def _bodies(case: Case, sample: Sample, same_bodies: bool) -> _Said:
    """What was found of the body stands while the same judges it; a new judge needs to see it."""
    if sample.method in _BODILESS and case.method is not None and not case.method.rules:
        return check_schema(case)
    came_here = sample.outcome == "allowed" or sample.reason in _OF_BODIES
    if same_bodies and came_here:
        return Refusal(Reason(sample.reason)) if sample.reason else None
    if not case.route.checks_body and case.method is not None and not case.method.rules:
        return check_schema(case)
    if sample.has_body and not sample.body:
        return _Unknown("its body was not kept")
    refusal = check_schema(case) or check_sender(case)
    if refusal is not None:
        return refusal
    return _Unknown("its rules were others") if case.method is not None and case.method.rules else None


def _missing(callers: CallerRules) -> Reason:
    if callers.roles:
        return Reason.TOKEN_MISSING
    return Reason.KEY_MISSING if callers.partners else Reason.SIGNATURE_MISSING


def _principal(sample: Sample) -> Principal:
    return Principal(
        Kind(sample.kind),
        subject=sample.subject,
        role=sample.role,
        tier=sample.tier,
        scopes=frozenset(sample.scopes),
        tenant=sample.tenant,
        partner=sample.partner,
        agent=sample.agent,
        issuer=sample.issuer,
    )


def _request(sample: Sample, rules: Rules, route: RouteRules) -> Request:
    return Request(
        gateway=rules.gateway,
        policy=rules.version,
        listener=sample.listener,
        route=route.name,
        method=sample.method,
        scheme="https",
        authority=sample.authority,
        path=sample.path,
        query=None,
        headers=sample.headers,
        body=base64.b64decode(sample.body) or None,
        size=sample.size,
        exact=True,
    )
