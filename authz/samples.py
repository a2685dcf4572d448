"""A decided check as it may be kept: enough to decide it again under another policy, and nothing that opens anything.

No credential is kept, no query, no name of a person and no body unless policy says so. What cannot be kept without
one of them is not kept at all.
"""

import base64
import hashlib
from dataclasses import asdict, dataclass
from typing import Final, Protocol, Self

import orjson

from authz.audit import Pseudonyms, redacted
from authz.checks.identity import has_credentials_in_url
from authz.decision import Decision
from authz.identity import api_key, hmac_signature
from authz.identity.claims import IssuerRules
from authz.principal import Kind
from authz.reasons import Reason
from authz.request import Request
from authz.rules import CallerRules, Rules
from policy.descriptors import CLIENT_ADDRESS_HEADER

TOKEN: Final = "token"  # noqa: S105
KEY: Final = "key"
SIGNATURE: Final = "signature"
OTHER: Final = "other"
# What the checks read of a request beside its credentials.
_KEPT_HEADERS: Final = (
    *("content-length", "content-type", "content-encoding", "transfer-encoding", "upgrade"),
    *("x-envoy-auth-partial-body", CLIENT_ADDRESS_HEADER),
)
_MAX_HEADER: Final = 256
_MAX_PATH: Final = 2048
_MAX_BODY: Final = 65_536
# What the identity check says, by which credential.
_ABOUT: Final = {
    Reason.TOKEN_INVALID: TOKEN,
    Reason.TOKEN_EXPIRED: TOKEN,
    Reason.ISSUER_UNAVAILABLE: TOKEN,
    Reason.KEY_INVALID: KEY,
    Reason.SIGNATURE_INVALID: SIGNATURE,
    Reason.SIGNATURE_OVERSIZED: SIGNATURE,
    Reason.SIGNATURE_REPLAYED: SIGNATURE,
    Reason.NONCE_STORE_UNAVAILABLE: SIGNATURE,
}
_MISSING: Final = frozenset({Reason.TOKEN_MISSING, Reason.KEY_MISSING, Reason.SIGNATURE_MISSING})
_LOOKED: Final = {
    Kind.TOKEN: TOKEN,
    Kind.BREAK_GLASS: TOKEN,
    Kind.KEY: KEY,
    Kind.SIGNATURE: SIGNATURE,
    Kind.ANONYMOUS: "",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One check and how it ended. `at`: seconds since the epoch; `body`: base64, empty where none is kept.

    `shown`: kinds of credentials that were sent; `looked`: the one that was looked at, with `identity` as its reason
    to be refused, empty where it was good; `kind` and what follows: the caller, where one was verified. `trust` and
    `judged_by`: digests of what the token's issuer and the body had to meet.
    """

    at: float
    policy: str
    listener: str
    route: str
    method: str
    authority: str
    path: str
    headers: dict[str, str]
    size: int
    body: str
    has_body: bool
    judged_by: str
    outcome: str
    reason: str
    shown: tuple[str, ...]
    looked: str
    identity: str
    trust: str
    kind: str = Kind.ANONYMOUS.value
    subject: str = ""
    issuer: str = ""
    role: str = ""
    tier: str = ""
    scopes: tuple[str, ...] = ()
    tenant: str = ""
    partner: str = ""
    agent: str = ""
    # A credential stood in the URL, which itself is not kept.
    in_url: bool = False

    def line(self) -> bytes:
        """As a line of JSON."""
        return orjson.dumps(asdict(self), option=orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def of_line(cls, line: bytes) -> Self:
        """The sample that `line` wrote. Raises ValueError."""
        try:
            read = orjson.loads(line)
            return cls(**{**read, **{name: tuple(read[name]) for name in ("shown", "scopes")}})
        except (TypeError, KeyError) as error:
            raise ValueError("not a sample") from error


class Sampler(Protocol):
    """Keeps some of the checks that it is told of. Never raises, and never waits."""

    def take(self, request: Request, decision: Decision, rules: Rules, at: float) -> None: ...


def sample_of(request: Request, decision: Decision, rules: Rules, at: float, pseudonyms: Pseudonyms) -> Sample | None:
    """What may be kept of a check; None where that is too little, or would be too much."""
    route, refusal = decision.route, decision.refusal or decision.waived
    if route is None or rules.replay is None or redacted(request.path, _MAX_PATH) != request.path:
        return None
    headers = {name: request.headers[name][:_MAX_HEADER] for name in _KEPT_HEADERS if name in request.headers}
    authority = request.authority[:261]
    if any(redacted(text) != text for text in (authority, *headers.values())):
        return None
    reason = None if refusal is None else refusal.reason
    if refusal is not None and refusal.reason is Reason.TOO_MANY_FAILURES:
        reason = Reason(refusal.cause)
    principal = decision.principal
    looked, identity = _LOOKED[principal.kind], ""
    if not looked and reason in _ABOUT:
        looked, identity = _ABOUT[reason], reason.value
    elif not looked and reason is Reason.CREDENTIALS_UNAVAILABLE:
        looked, identity = KEY if shown_to(route.callers, request).count(KEY) else SIGNATURE, reason.value
    elif not looked and refusal is not None and reason is Reason.ADDRESS_NOT_ALLOWED and "partner" in refusal.cause:
        looked, identity = KEY, reason.value
    method = route.methods.get(request.method)
    issuer = next((one for one in rules.issuers.values() if one.name == principal.issuer), None)
    keeps = rules.replay.bodies and request.body is not None and len(request.body) <= _MAX_BODY
    body = request.body if keeps else None
    return Sample(
        at=at,
        policy=request.policy,
        listener=request.listener,
        route=route.name,
        method=request.method[:32],
        authority=authority,
        path=request.path,
        headers=headers,
        size=max(request.size, len(request.body or b"")),
        body="" if body is None else base64.b64encode(body).decode(),
        has_body=request.body is not None,
        judged_by="" if method is None else method.judged_by,
        outcome="denied" if decision.refusal is not None else "allowed" if decision.waived is None else "shadowed",
        reason="" if reason is None else reason.value,
        shown=_shown(request),
        looked=looked,
        identity=identity,
        trust="" if issuer is None else trust_of(issuer),
        kind=principal.kind.value,
        subject=pseudonyms.of(principal.subject) if principal.kind is Kind.TOKEN else principal.subject,
        issuer=principal.issuer,
        role=principal.role,
        tier=principal.tier,
        scopes=tuple(sorted(principal.scopes)),
        tenant=principal.tenant,
        partner=principal.partner,
        agent=principal.agent,
        in_url=has_credentials_in_url(request),
    )


def came_to_identity(sample: Sample) -> bool:
    """Whether the credential had been looked for when the check ended; public routes never do."""
    if sample.looked or sample.reason in _MISSING or sample.reason == Reason.CREDENTIALS_AMBIGUOUS:
        return True
    return not sample.shown


def shown_to(callers: CallerRules, shown: Request | Sample) -> tuple[str, ...]:
    """The kinds of credentials that a route with these callers looks at."""
    sent = shown.shown if isinstance(shown, Sample) else _shown(shown)
    asked = {TOKEN: bool(callers.roles), KEY: callers.partners, SIGNATURE: callers.agents}
    return tuple(kind for kind in sent if asked.get(kind, False))


def trust_of(issuer: IssuerRules) -> str:
    """Digest of what an issuer's tokens must be; what rules read of them is no part of it."""
    asked = (issuer.issuer, issuer.audience, issuer.algorithm, issuer.token_type, issuer.max_lifetime, issuer.leeway)
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:16]


def _shown(request: Request) -> tuple[str, ...]:
    headers = request.headers
    kinds: list[str] = []
    authorization = headers.get("authorization")
    if authorization is not None:
        kinds.append(TOKEN if authorization.partition(" ")[0].lower() == "bearer" else OTHER)
    if api_key.HEADER in headers:
        kinds.append(KEY)
    if hmac_signature.INPUT_HEADER in headers or hmac_signature.SIGNATURE_HEADER in headers:
        kinds.append(SIGNATURE)
    return tuple(kinds)
