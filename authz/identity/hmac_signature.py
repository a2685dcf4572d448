"""Agents' requests, signed with HTTP Message Signatures (RFC 9421, hmac-sha256) over a Content-Digest (RFC 9530).

A signature must cover method, authority, path, query and digest, so nothing of a request can be exchanged under it;
the digest is recomputed over the octets of the body; and the nonce that it carries can be spent once. The base is
built from what Envoy routes by, which is the normal form of the path: an agent that signs another spelling of it
gets 401.
"""

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from authz.decision import NonceClaim, Refusal
from authz.facts import Facts
from authz.identity.structured_fields import MAX_FIELD, InnerList, read_byte_sequences, read_inner_lists
from authz.principal import Kind, Principal
from authz.reasons import Reason
from authz.request import Request

INPUT_HEADER: Final = "signature-input"
SIGNATURE_HEADER: Final = "signature"
DIGEST_HEADER: Final = "content-digest"
ALGORITHM: Final = "hmac-sha256"
TAG: Final = "waooaw-agent"
MANDATORY: Final = ("@method", "@authority", "@path", "@query", DIGEST_HEADER)
MAX_NONCE: Final = 128
# Seconds by which a replica's clock may be behind that of the one which saw a nonce first, and the window's very end.
_CLOCKS_DIFFER: Final = 11
_MAX_COMPONENTS: Final = 32

_NONCE: Final = re.compile(r"[A-Za-z0-9_+/=-]{16,128}")
_FIELD_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_PARAMETERS: Final = frozenset({"created", "expires", "nonce", "keyid", "alg", "tag"})
_DEFAULT_PORTS: Final = {"https": ":443", "http": ":80"}
_DIGESTS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "sha-256": lambda body: hashlib.sha256(body).digest(),
    "sha-512": lambda body: hashlib.sha512(body).digest(),
}
# Compared against when the agent is not known, so that the answer takes as long (attack A25).
_NO_SECRET: Final = (b"no agent has this secret",)


@dataclass(frozen=True, slots=True)
class SignatureRules:
    """How agents sign at this gateway. `window`: seconds that `created` may differ from now, either way."""

    window: int
    role: str
    tier: str


@dataclass(frozen=True, slots=True)
class _Signature:
    covered: InnerList
    octets: bytes
    created: int
    expires: int | None
    nonce: str
    key_id: str


def _refuse(cause: str) -> Refusal:
    return Refusal(Reason.SIGNATURE_INVALID, cause)


def verify_signature(
    request: Request, rules: SignatureRules, facts: Facts, now: float
) -> tuple[Principal, NonceClaim] | Refusal:
    """Whose request this is, and the nonce that must now be spent. Never raises."""
    signature = _read_signature(request)
    if isinstance(signature, Refusal):
        return signature
    if facts.agent_secrets is None:
        return Refusal(Reason.CREDENTIALS_UNAVAILABLE, "agent secrets not loaded")
    base = signature_base(request, signature.covered)
    if base is None:
        return _refuse("component")
    secrets = facts.agent_secrets.by_agent.get(signature.key_id)
    # Every secret is tried, so that neither their number nor which one fitted shows in the time taken.
    matches = [
        hmac.compare_digest(hmac.digest(secret, base, "sha256"), signature.octets) for secret in secrets or _NO_SECRET
    ]
    fits = any(matches)
    if not fits or secrets is None:
        return _refuse("signature" if secrets else "agent")
    if abs(now - signature.created) > rules.window or (signature.expires is not None and now > signature.expires):
        return _refuse("window")
    if not _digest_matches(request):
        return _refuse("digest")
    agent = signature.key_id
    # The window is open for twice its width at most, by one clock.
    seconds = 2 * rules.window + _CLOCKS_DIFFER
    return _principal(agent, rules.role, rules.tier), NonceClaim(agent, signature.nonce, seconds)


# Only of agents whose signature was good. One principal, one answer (authz.answers).
@lru_cache(maxsize=4096)
def _principal(agent: str, role: str, tier: str) -> Principal:
    return Principal(Kind.SIGNATURE, subject=agent, role=role, tier=tier, agent=agent)


def _read_signature(request: Request) -> _Signature | Refusal:
    inputs, octets = request.headers.get(INPUT_HEADER, ""), request.headers.get(SIGNATURE_HEADER, "")
    if not inputs or not octets:
        return _refuse("one of the two fields is missing")
    if len(inputs) > MAX_FIELD or len(octets) > MAX_FIELD:
        return Refusal(Reason.SIGNATURE_OVERSIZED)
    lists, signatures = read_inner_lists(inputs), read_byte_sequences(octets)
    # One signature, under one label: with several it would be a matter of choice which one counts.
    if lists is None or signatures is None or len(lists) != 1 or lists.keys() != signatures.keys():
        return _refuse("form")
    ((label, covered),) = lists.items()
    return _read_parameters(covered, signatures[label])


def _read_parameters(covered: InnerList, octets: bytes) -> _Signature | Refusal:
    given = dict(covered.parameters)
    created, expires = given.get("created"), given.get("expires")
    nonce, key_id = given.get("nonce"), given.get("keyid")
    if isinstance(nonce, str) and len(nonce) > MAX_NONCE:
        return Refusal(Reason.SIGNATURE_OVERSIZED, "nonce")
    if given.get("alg") != ALGORITHM or given.get("tag") != TAG or not _PARAMETERS.issuperset(given):
        return _refuse("parameters")
    if isinstance(created, bool) or not isinstance(created, int):
        return _refuse("created")
    if expires is not None and (isinstance(expires, bool) or not isinstance(expires, int)):
        return _refuse("expires")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce) or not isinstance(key_id, str):
        return _refuse("nonce or keyid")
    if not _covers_enough(covered.items):
        return _refuse("components")
    return _Signature(covered, octets, created, expires, nonce, key_id)


@lru_cache(maxsize=256)
def _covers_enough(items: tuple[str, ...]) -> bool:
    return len(items) <= _MAX_COMPONENTS and len(set(items)) == len(items) and set(MANDATORY).issubset(items)


def signature_base(request: Request, covered: InnerList) -> bytes | None:
    """What was signed (RFC 9421 §2.5), or None where a component is absent, unknown or not known exactly."""
    if covered.items == MANDATORY:
        return _usual_base(request, covered)
    lines: list[str] = []
    for name in covered.items:
        value = _component(request, name)
        # `!` stands for octets that are not UTF-8 unless the check carries them raw: what was signed is not sure.
        if value is None or "\n" in value or (not request.exact and "!" in value):
            return None
        lines.append(f'"{name}": {value}\n')
    lines.append(f'"@signature-params": {covered.serialised()}')
    return "".join(lines).encode("utf-8", "surrogatepass")


def _usual_base(request: Request, covered: InnerList) -> bytes | None:
    """The same, of what nearly every agent signs, in the order that it is told (`problem.py`)."""
    method, authority, path, query = request.method, _authority(request), request.path, _query(request)
    digest = request.headers.get(DIGEST_HEADER)
    if digest is None:
        return None
    values = f"{method}{authority}{path}{query}{digest}"
    if "\n" in values or (not request.exact and "!" in values):
        return None
    return (
        f'"@method": {method}\n"@authority": {authority}\n"@path": {path}\n"@query": {query}\n'
        f'"content-digest": {digest}\n"@signature-params": {covered.serialised()}'
    ).encode("utf-8", "surrogatepass")


def _component(request: Request, name: str) -> str | None:
    """The value of one component (RFC 9421 §2.1 for fields, §2.2 for what is derived)."""
    derived = _DERIVED.get(name)
    if derived is not None:
        return derived(request)
    return request.headers.get(name) if _FIELD_NAME.fullmatch(name) else None


def _authority(request: Request) -> str:
    # RFC 9421 §2.2.3: lower case, without the scheme's default port.
    authority = request.authority.lower()
    return authority.removesuffix(_DEFAULT_PORTS.get(request.scheme.lower(), "\n"))


def _query(request: Request) -> str:
    return "?" if request.query is None else "?" + request.query


_DERIVED: Final[dict[str, Callable[[Request], str]]] = {
    "@method": lambda request: request.method,
    "@authority": _authority,
    "@scheme": lambda request: request.scheme.lower(),
    "@path": lambda request: request.path,
    "@query": _query,
    "@request-target": lambda request: request.path if request.query is None else f"{request.path}?{request.query}",
}


def _digest_matches(request: Request) -> bool:
    digests = read_byte_sequences(request.headers.get(DIGEST_HEADER, ""))
    if not digests or not digests.keys() <= _DIGESTS.keys():
        return False
    body = request.body or b""
    return all(hmac.compare_digest(_DIGESTS[name](body), octets) for name, octets in digests.items())
