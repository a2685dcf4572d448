"""What authorization says of a request at each gateway on its way, check by check; the credential is never repeated."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Final, cast

from apibank.explanation import Explanation, Policies
from apibank.facts_at_hand import FactsAtHand
from apibank.hops import Record
from authz.audit import redacted
from authz.decision import Refusal
from authz.examination import Examination, Said, Verdict, examine
from authz.principal import Kind, Principal
from authz.reasons import Reason
from authz.request import Request
from authz.rules import compile_rules
from policy.descriptors import CLIENT_ADDRESS_HEADER, IDENTITY_HEADERS, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from policy.model import Credentials, Gateway

CREDENTIAL_HEADERS: Final = frozenset(
    {"authorization", "cookie", "proxy-authorization", "signature", "signature-input", "x-api-key"}
)
_MASK: Final = "[redacted]"
_SHORTEST_SECRET: Final = 4
# With what is not known here another might admit the request.
_NOT_KNOWN: Final = frozenset({Reason.ISSUER_UNAVAILABLE, Reason.CREDENTIALS_UNAVAILABLE, Reason.CONSENTS_UNAVAILABLE})
FactsOf = Callable[[Gateway], AbstractAsyncContextManager[FactsAtHand]]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request carries beside its method and path. `headers` have lower-case names."""

    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    address: str = "127.0.0.1"

    @property
    def secrets(self) -> frozenset[str]:
        """Texts that no answer may hold: the credentials, and each word of theirs."""
        values = [value for name, value in self.headers.items() if name in CREDENTIAL_HEADERS]
        words = [word for value in values for word in (value, *value.split())]
        return frozenset(word for word in words if len(word) > _SHORTEST_SECRET and word.lower() != "bearer")


async def with_checks(
    explanation: Explanation, policies: Policies, sent: Sent, facts_of: FactsOf, now: Callable[[], float]
) -> Record:
    """The explanation with the checks of each gateway that routes the request, and what comes of them all.

    Gateways behind one that refuses are examined too. `certain`: whether that would be the answer; it is not where the
    refusal stands on something that could not be looked up here. `now`: seconds since the epoch.
    """
    record = explanation.as_record()
    hops, refused = [], None
    async for hop, found in _examined(explanation, policies, sent, facts_of, now):
        hops.append(hop)
        if refused is None and found is not None and found.decision.refusal is not None:
            refused = hop["gateway"], found.decision.refusal
    record.update(hops=hops, certain=refused is None or refused[1].reason not in _NOT_KNOWN)
    if refused is not None:
        name, refusal = refused
        record.update(refused=True, status=refusal.status, detail=f"{refusal.reason}: {refusal.sentence}", by=name)
    record["path"] = _without_query(explanation.path)
    return cast(Record, _scrubbed(record, sent.secrets))


async def _examined(
    explanation: Explanation, policies: Policies, sent: Sent, facts_of: FactsOf, now: Callable[[], float]
) -> AsyncIterator[tuple[Record, Examination | None]]:
    for hop in explanation.hops:
        shown = {**hop, "asked": _without_query(str(hop["asked"]))}
        gateway = policies[str(hop["gateway"])].gateway
        if "route" not in hop or _answers_first(gateway, hop):
            yield shown, None
            continue
        request = _request(gateway, hop, explanation.method, sent)
        async with facts_of(gateway) as known:
            rules = compile_rules(gateway)
            found = examine(request, rules, known.facts, now())
            missing = found.decision.missing_key
            if missing is not None and await known.sources.find(missing):
                found = examine(request, rules, known.facts, now())
            yield {**shown, **_told(found, request, known.notes)}, found
        if gateway.credentials is Credentials.STRIP:
            kept = {name: value for name, value in sent.headers.items() if name not in CREDENTIAL_HEADERS}
            sent = replace(sent, headers=kept)


def _answers_first(gateway: Gateway, hop: Record) -> bool:
    """Whether Envoy answers on this route without asking authorization."""
    route = gateway.routes[str(cast(Record, hop["route"])["name"])]
    return route.answered


def _request(gateway: Gateway, hop: Record, method: str, sent: Sent) -> Request:
    _, mark, query = str(hop["asked"]).partition("?")
    headers = {
        **{name: value for name, value in sent.headers.items() if name != "host"},
        CLIENT_ADDRESS_HEADER: sent.address,
    }
    if sent.body is not None:
        headers.setdefault("content-length", str(len(sent.body)))
    return Request(
        gateway=gateway.gateway,
        policy=gateway.version,
        listener=str(cast(Record, hop["listener"])["name"]),
        route=str(cast(Record, hop["route"])["name"]),
        method=method,
        scheme="https",
        authority=sent.headers.get("host", "localhost"),
        path=str(hop["path"]),
        query=query if mark else None,
        headers=headers,
        body=sent.body or None,
        size=len(sent.body or b""),
        exact=True,
    )


def _told(found: Examination, request: Request, notes: object) -> Record:
    decision = found.decision
    outcome = "denied" if decision.refusal is not None else "allowed" if decision.waived is None else "shadowed"
    return {
        "checks": [_verdict(one) for one in found.verdicts],
        "outcome": outcome,
        "refusal": None if found.refusal is None else _refusal(found.refusal),
        "shadowed_rules": [{"rule": one.rule, "reason": one.reason.value} for one in decision.shadowed],
        "caller": _caller(found.principal),
        "counted_as": {
            "caller": decision.principal.caller,
            "tier": decision.principal.counts_as or decision.principal.tier or None,
        },
        "sent_upstream": None if decision.refusal is not None else _identity(decision.principal),
        "removed": sorted(name for name in request.headers if _is_claim(name)),
        "nonce": None if found.claim is None else "not spent, and nobody asked whether it was",
        "notes": list(cast(list[str], notes)),
    }


def _verdict(one: Verdict) -> Record:
    told: Record = {"check": one.check, "said": one.said.value}
    if one.said is Said.REFUSED and one.refusal is not None:
        told |= _refusal(one.refusal)
    return told | ({"why": one.why} if one.why else {})


def _refusal(refusal: Refusal) -> Record:
    return {
        "reason": refusal.reason.value,
        "status": refusal.status,
        "detail": refusal.sentence,
        "cause": refusal.cause,
        "scope": refusal.scope,
        "errors": [{"pointer": one.pointer, "rule": one.rule} for one in refusal.errors],
    }


def _caller(principal: Principal) -> Record | None:
    if principal.kind is Kind.ANONYMOUS:
        return None
    return {
        "kind": principal.kind.value,
        "caller": principal.caller,
        "issuer": principal.issuer,
        "role": principal.role,
        "tier": principal.tier,
        "scopes": sorted(principal.scopes),
        "credential_id": principal.credential_id,
    }


def _identity(principal: Principal) -> Record:
    return {name: value for name, value in zip(IDENTITY_HEADERS, principal.identity, strict=True) if value}


def _is_claim(name: str) -> bool:
    claims = name.startswith(SPOOFABLE_PREFIXES) or name in SPOOFABLE_HEADERS
    return claims and name != CLIENT_ADDRESS_HEADER


def _without_query(path: str) -> str:
    # Parameters may be credentials, and personal.
    plain, mark, _ = path.partition("?")
    return redacted(plain) + ("?..." if mark else "")


def _scrubbed(value: object, secrets: frozenset[str]) -> object:
    match value:
        case str():
            for secret in sorted(secrets, key=len, reverse=True):
                value = value.replace(secret, _MASK)
            return redacted(value, 10_000) if "_sk_" in value or "ey" in value else value
        case dict():
            return {name: _scrubbed(one, secrets) for name, one in value.items()}
        case list() | tuple():
            return [_scrubbed(one, secrets) for one in value]
    return value
