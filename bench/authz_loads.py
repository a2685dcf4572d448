"""What the figures of authorization are of: the real policies of two gateways, their callers, and the checks asked."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from prometheus_client import CollectorRegistry

from authz.audit import AuditSink
from authz.authorizer import Authorizer
from authz.decision import NonceClaim
from authz.facts import AgentSecrets, Facts, FactsBoard, PartnerKey, PartnerKeys
from authz.identity.keys import KeySet, read_keys
from authz.identity.verified_tokens import VerifiedTokens
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore, NonceStoreError
from authz.rules import Rules, compile_rules
from policy.access import Algorithm
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from protos import ext_authz_pb2 as pb
from waooaw_signing import sign

NOW: Final = 1_800_000_000.0
API_KEY: Final = "waw_live_sk_" + "b" * 20
SECRET: Final = b"the secret of the agent of these figures"
CALLERS, MESSAGES = 200, 400
CONTENT: Final = {"topic": "AI agents", "tone": "casual", "length": 500, "keywords": ["AI", "automation"]}
MESSAGE: Final = {"id": "m-1", "type": "task.created", "sender": "vision", "recipient": "memory", "payload": {"n": 1}}
_POLICIES: Final = Path(__file__).parents[1] / "envoy" / "gateways"
PRIVATE_KEY = rsa.generate_private_key(65537, 2048)


class EveryNonce(MemoryNonceStore):
    """Spends nonces as always, but lets the few signatures of a run pass again and again."""

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        await super().spend_many(claims)
        return [True] * len(claims)


@cache
def rules(gateway: str, remembers: bool = True) -> Rules:
    path = _POLICIES / f"{gateway}.yaml"
    policy = load_gateway(Gateway, Source(path.name, path.read_text())).gateway
    return compile_rules(policy, VerifiedTokens() if remembers else VerifiedTokens(ttl=0))


def key_set() -> KeySet:
    """What verifies the tokens of these figures."""
    jwk = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(PRIVATE_KEY.public_key()))
    keys, _ = read_keys([{**jwk, "kid": "k1"}], Algorithm.RS256)
    return KeySet(keys)


@cache
def facts() -> Facts:
    scopes = frozenset({"partner:acme:marketing:*"})
    partner = PartnerKey("acme", scopes, "business", NOW + 1000, "key-1")
    return Facts(
        key_sets={rules("marketing").issuers["https://auth.waooaw.ai"].keys: key_set()},
        partner_keys=PartnerKeys({hashlib.sha256(API_KEY.encode()).digest(): partner}),
        agent_secrets=AgentSecrets({"vision": (SECRET,)}),
    )


def token(caller: int) -> str:
    claims = {
        "iss": "https://auth.waooaw.ai",
        "aud": "https://api.waooaw.ai",
        "sub": f"user_{caller}",
        "email": f"user_{caller}@example.com",
        "tenant_id": f"tenant_{caller % 20}",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 3000,
        "jti": f"token-{caller}",
    }
    return jwt.encode(claims, PRIVATE_KEY, "RS256", {"kid": "k1"})


def check(gateway: str, path: str, headers: Mapping[str, str], body: object = None) -> bytes:
    """A check as Envoy sends it for a browser's request."""
    message = pb.CheckRequest()
    http = message.attributes.request.http
    http.id, http.method, http.path = "1234567890", "GET" if body is None else "POST", path
    http.host, http.scheme, http.protocol = "api.waooaw.ai", "https", "HTTP/2"
    http.raw_body = b"" if body is None else json.dumps(body).encode()
    http.size = len(http.raw_body)
    http.headers.update(
        {
            ":authority": http.host,
            ":method": http.method,
            ":path": http.path,
            ":scheme": http.scheme,
            "accept": "application/json",
            "accept-encoding": "gzip, deflate, br",
            "accept-language": "en-GB,en;q=0.9",
            "content-type": "application/json",
            "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0",
            "x-forwarded-for": "10.0.0.7",
            "x-forwarded-proto": "https",
            "x-request-id": "0c6a3f3e-8f7b-4c53-9d2b-6a5f0c9d1e11",
            "x-waooaw-client-address": "10.0.0.7",
            **headers,
        }
    )
    known = rules(gateway)
    context = {"gateway": gateway, "policy": known.version, "listener": "mesh", "route": path.rsplit("/", 1)[1]}
    message.attributes.context_extensions.update(context)
    return message.SerializeToString()


@cache
def token_checks(body: str = "", spoil: bool = False) -> list[bytes]:
    tokens = [token(caller) for caller in range(CALLERS)]
    shown = [text[:-6] + "AAAAAA" if spoil else text for text in tokens]
    path = "/api/marketing/content"
    sent = json.loads(body) if body else None
    return [check("marketing", path, {"authorization": f"Bearer {text}"}, sent) for text in shown]


def _key_checks() -> list[bytes]:
    return [check("marketing", "/api/marketing/content", {"x-api-key": API_KEY})]


@cache
def _signed_checks() -> list[bytes]:
    path, body = "/api/agents/vision", json.dumps(MESSAGE).encode()
    url = f"https://api.waooaw.ai{path}"
    signed = (sign("POST", url, body, "vision", SECRET, int(NOW)) for _ in range(MESSAGES))
    return [check("agents", path, fields, MESSAGE) for fields in signed]


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked. `remembers`: whether verified tokens are remembered."""

    gateway: str
    checks: Callable[[], Sequence[bytes]]
    remembers: bool = True
    refused: bool = False


LOADS: Final[Mapping[str, Load]] = {
    "constant": Load("marketing", token_checks),
    "token, remembered": Load("marketing", token_checks),
    "token, remembered, body": Load("marketing", lambda: token_checks(json.dumps(CONTENT))),
    "token, verified (RS256)": Load("marketing", token_checks, remembers=False),
    "API key": Load("marketing", _key_checks),
    "HMAC signature, body": Load("agents", _signed_checks),
    "refused": Load("marketing", lambda: token_checks(spoil=True), refused=True),
}


def authorizer(load: Load, audit: AuditSink) -> Authorizer:
    """A gateway's authorization at the moment of these figures, as its process would have it."""
    made = Authorizer(
        load.gateway,
        board=FactsBoard(facts()),
        nonces=EveryNonce(),
        audit=audit,
        metrics=AuthzMetrics(CollectorRegistry(), load.gateway),
        clock=lambda: NOW,
    )
    made.install(rules(load.gateway, load.remembers))
    return made
