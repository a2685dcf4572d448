"""A gateway, its callers and their credentials, as small as the tests of authorization need them."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from authz.facts import AgentSecrets, Facts, PartnerKey, PartnerKeys
from authz.identity.keys import KeySet, read_keys, source_of, symmetric_key
from authz.request import Request
from authz.rules import Rules, compile_rules
from policy.access import Algorithm
from policy.model import Gateway
from waooaw_signing import sign

NOW = 1_800_000_000.0
ISSUER = "https://auth.example.com"
ADMIN_ISSUER = "https://admin.example.com"
AUDIENCE = "https://api.example.com"
API_KEY = "waw_live_sk_0123456789ABCDEFGHij"
AGENT_SECRET = b"an agent's secret of 32 octets or more"
SYMMETRIC_SECRET = b"a symmetric issuer's secret, also long enough"


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _number(value: int, octets: int) -> str:
    return b64(value.to_bytes(octets, "big"))


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed_key(name: str) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str = "k1", **members: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    return {"kty": "RSA", "kid": kid, "n": _number(numbers.n, size), "e": _number(numbers.e, 3), **members}


def ec_jwk(key: ec.EllipticCurvePrivateKey, kid: str = "k1", **members: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "kid": kid,
        "x": _number(numbers.x, 32),
        "y": _number(numbers.y, 32),
        **members,
    }


def ed_jwk(key: ed25519.Ed25519PrivateKey, kid: str = "k1", **members: object) -> dict[str, object]:
    octets = key.public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(octets), **members}


def key_set(*jwks: Mapping[str, object], algorithm: Algorithm = Algorithm.RS256, **options: float) -> KeySet:
    keys, refused = read_keys([dict(each) for each in jwks], algorithm)  # type: ignore[arg-type]
    assert not refused
    return KeySet(keys, **options)  # type: ignore[arg-type]


def claims(**changes: object) -> dict[str, object]:
    """Good claims of a customer; a change to `...` leaves one out."""
    good: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user_1",
        "email": "someone@example.com",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 600,
        "jti": "t-1",
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def sign_rs256(message: bytes, key: rsa.RSAPrivateKey | None = None) -> bytes:
    return (key or rsa_key("customer")).sign(message, padding.PKCS1v15(), hashes.SHA256())


def sign_es256(message: bytes, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    r, s = decode_dss_signature((key or ec_key("customer")).sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def compact(header: object, payload: object, sign: object = sign_rs256) -> str:
    """Any header and payload (JSON values, or octets as they are), signed by a function of the signing input."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, payload)]
    signing_input = ".".join(b64(part) for part in parts)
    return f"{signing_input}.{b64(sign(signing_input.encode()))}"  # type: ignore[operator]


def token(key: rsa.RSAPrivateKey | None = None, header: Mapping[str, object] | None = None, **changes: object) -> str:
    """A customer's token, good unless changed."""
    heading = {"alg": "RS256", "kid": "k1", "typ": "at+jwt", **(header or {})}
    return compact(heading, claims(**changes), lambda message: sign_rs256(message, key))


CONTENT_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["topic", "tone", "length"],
    "properties": {
        "topic": {"type": "string", "minLength": 1, "maxLength": 199, "pattern": r"[\p{L}\p{N}\p{P}\p{S}]"},
        "tone": {"enum": ["professional", "casual", "technical"]},
        "length": {"type": "integer", "minimum": 100, "maximum": 5000},
        "keywords": {"type": "array", "maxItems": 10, "items": {"type": "string"}},
    },
}
CONTENT = {"topic": "AI agents", "tone": "casual", "length": 500, "keywords": ["AI"]}
MESSAGE_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "type", "sender", "recipient", "payload"],
    "properties": {
        "id": {"type": "string"},
        "type": {"type": "string"},
        "sender": {"type": "string"},
        "recipient": {"type": "string"},
        "payload": {"type": "object"},
    },
}
MESSAGE = {"id": "m-1", "type": "task.created", "sender": "content", "recipient": "vision", "payload": {}}


def policy(**changes: object) -> Gateway:
    """A gateway with every kind of caller and of route. Changes replace whole sections."""
    document: dict[str, object] = {
        "gateway": "marketing",
        "description": "For tests.",
        "owners": ["tests@example.com"],
        "networks": {"internal": ["10.0.0.0/8", "fd00::/8"], "office": ["192.0.2.0/24"], "nobody": []},
        "issuers": {
            "customer": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": {"url": "https://auth.example.com/jwks"}},
            "admin": {"issuer": ADMIN_ISSUER, "audience": AUDIENCE, "jwks": {"url": "https://admin.example.com/jwks"}},
        },
        "callers": {
            "tokens": {"customer": ["customer"]},
            "partners": True,
            "refusal": "Marketing is for customers",
        },
        "tiers": ["free", "business", "enterprise"],
        "agents": {"secrets_directory": "/run/secrets/agents"},
        "schemas": {"content": CONTENT_SCHEMA, "message": MESSAGE_SCHEMA},
        "services": {
            "authz": {"endpoint": "unix:/run/authz.sock"},
            "ratelimit": {"endpoint": "unix:/run/ratelimit.sock"},
        },
        "upstreams": {"service": {"endpoints": ["127.0.0.1:9000"]}},
        "listeners": {
            "mesh": {"address": "0.0.0.0:8001"},
            "inner": {"address": "0.0.0.0:8002", "networks": ["internal"]},
        },
        "defaults": {"methods": {"GET": "read", "POST": "write"}, "scopes": "marketing"},
        "routes": {
            "content": {"path": "/api/marketing/content", "body": {"POST": "content"}, "upstream": "service"},
            "plain": {"path": "/api/marketing/plain", "upstream": "service"},
            "exact": {"path": "/api/marketing/exact", "match": "exact", "upstream": "service"},
            "office": {"path": "/api/marketing/office", "networks": ["office"], "upstream": "service"},
            "nobody": {"path": "/api/marketing/nobody", "networks": ["nobody"], "upstream": "service"},
            "docs": {"path": "/api/marketing/docs", "access": "public", "upstream": "service"},
            "admin": {
                "path": "/api/marketing/admin",
                "callers": {"tokens": {"admin": ["admin"]}, "refusal": "Admin access required"},
                "tiers": ["internal"],
                "upstream": "service",
            },
        },
    }
    document.update(changes)
    return Gateway.model_validate(document)


def agents_policy(**changes: object) -> Gateway:
    """A gateway for agents alone."""
    base: dict[str, object] = {
        "gateway": "agents",
        "issuers": {},
        "callers": {"agents": True, "refusal": "Only agents call agents"},
        "tiers": ["internal"],
        "listeners": {"mesh": {"address": "0.0.0.0:8004"}},
        "defaults": {"methods": {"GET": "read", "POST": "write"}},
        "routes": {
            "vision": {"path": "/api/agents/vision", "body": {"POST": "message"}, "upstream": "service"},
            "opaque": {"path": "/api/agents/opaque", "upstream": "service"},
        },
    }
    return policy(**{**base, **changes})


def rules(**changes: object) -> Rules:
    return compile_rules(policy(**changes))


def agents_rules(**changes: object) -> Rules:
    return compile_rules(agents_policy(**changes))


def facts(**changes: object) -> Facts:
    """Keys of both issuers, one partner key, two agents. `key_sets` by policy's names of the issuers."""
    if "key_sets" in changes:
        named: Mapping[str, KeySet] = changes["key_sets"]  # type: ignore[assignment]
        changes["key_sets"] = {KEYS.get(name, name): each for name, each in named.items()}
    known = Facts(
        key_sets={
            KEYS["customer"]: key_set(rsa_jwk(rsa_key("customer"))),
            KEYS["admin"]: key_set(rsa_jwk(rsa_key("admin"))),
        },
        partner_keys=PartnerKeys({hashlib.sha256(API_KEY.encode()).digest(): partner_key()}),
        agent_secrets=AgentSecrets({"content": (AGENT_SECRET,), "vision": (b"v" * 32, b"w" * 32)}),
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def partner_key(**changes: object) -> PartnerKey:
    good = PartnerKey(
        partner="acme",
        scopes=frozenset({"partner:acme:marketing:read"}),
        tier="business",
        expires_at=NOW + 1000,
        key_id="key-1",
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def symmetric_keys(*secrets: bytes) -> KeySet:
    return KeySet(secrets=tuple(symmetric_key(secret) for secret in secrets or (SYMMETRIC_SECRET,)))


def request(
    route: str = "content",
    path: str | None = None,
    method: str = "GET",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    *,
    token: str | None = None,
    key: str | None = None,
    json_body: object = None,
    body: bytes | None = None,
    address: str | None = "192.0.2.7",
    rules: Rules | None = None,
    **changes: object,
) -> Request:
    """A request to a route of `policy()`, at its own path unless told otherwise."""
    sent = dict(headers)
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    if key is not None:
        sent["x-api-key"] = key
    if address is not None:
        sent.setdefault("x-waooaw-client-address", address)
    if json_body is not None:
        body = json.dumps(json_body).encode()
        sent.setdefault("content-type", "application/json")
    target, mark, query = (f"/api/marketing/{route}" if path is None else path).partition("?")
    asked = Request(
        gateway="marketing" if rules is None else rules.gateway,
        policy=VERSION if rules is None else rules.version,
        listener="mesh",
        route=route,
        method=method,
        scheme="https",
        authority="api.example.com",
        path=target,
        query=query if mark else None,
        headers=sent,
        body=body,
        size=len(body or b""),
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def signed(
    method: str = "POST",
    path: str = "/api/agents/vision",
    body: bytes | None = None,
    *,
    agent: str = "content",
    secret: bytes = AGENT_SECRET,
    created: int = int(NOW),
    nonce: str | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    **changes: object,
) -> Request:
    """A request to the agents gateway, signed as the client library does."""
    octets = json.dumps({**MESSAGE, "sender": agent}).encode() if body is None and method == "POST" else body or b""
    fields = sign(method, f"https://agents.example.com{path}", octets, agent, secret, created, nonce)
    sent = {"content-type": "application/json", **fields, **headers} if octets else {**fields, **headers}
    made = request("vision", path, method, sent, body=octets or None, rules=AGENTS, authority="agents.example.com")
    return replace(made, **changes)  # type: ignore[arg-type]


VERSION = policy().version
# What the keys of the policy's issuers are kept as.
KEYS = {name: source_of(name, issuer) for name, issuer in policy().issuers.items()}
AGENTS = agents_rules()
