"""Forged, altered, stale and borrowed tokens, through central to a domain gateway."""

import hmac
import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from apibank.issuer.mint import mint
from tests.support.client import CONTENT, Client
from tests.support.evidence import Evidence
from tests.support.forging import ISSUERS, Forge, b64, claims, compact, hs256, rs256
from tests.support.raw import Door, head, send
from tests.support.stack import Stack
from tests.support.tokens import Fresh

PATH = "/api/marketing/content"
Make = Callable[[Forge], str]


def header(**changes: object) -> Make:
    """A token that its issuer signed with another header."""
    return lambda forge: forge.token(changes)


def payload(**changes: object) -> Make:
    """A token that its issuer signed with other claims."""
    return lambda forge: forge.token(None, **changes)


def unsigned(algorithm: object, signature: bytes = b"") -> Make:
    return lambda forge: compact(forge.header(alg=algorithm), claims(), lambda _: signature)


def hmac_with(secret: Callable[[Forge], bytes], algorithm: str = "HS256") -> Make:
    digest = "sha" + algorithm[2:]
    return lambda forge: compact(
        forge.header(alg=algorithm), claims(), lambda message: hmac.digest(secret(forge), message, digest)
    )


def pem(forge: Forge) -> bytes:
    return forge.public(Encoding.PEM)


def jwk(forge: Forge, **format_: object) -> bytes:
    return json.dumps(dict(forge.key().jwk), **format_).encode()  # type: ignore[arg-type]


def in_header(place: str) -> Make:
    """Signed by the attacker's key, which the header tells, or tells where to fetch."""
    numbers = {"kty": "RSA", "e": "AQAB", "kid": "mine"}

    def make(forge: Forge) -> str:
        n = forge.strange_key.public_key().public_numbers().n
        own = {**numbers, "n": b64(n.to_bytes(256, "big"))}
        value: object = {"jwk": own, "x5c": ["MIIB"]}.get(place, "https://evil.example/keys")
        return compact(forge.header(**{place: value}), claims(), rs256(forge.strange_key))

    return make


def with_now(make: Callable[[int], dict[str, object]]) -> Make:
    return lambda forge: forge.token(None, **make(int(time.time())))


def bomb(forge: Forge) -> str:
    """Compressed nothing, which would be 50 MB."""
    packed = zlib.compress(b" " * 50_000_000, 9)[:4000]
    return compact(forge.header(zip="DEF"), packed, rs256(forge.key().private))


REFUSED: dict[str, Make] = {
    "A1 none": unsigned("none"),
    "A1 None": unsigned("None"),
    "A1 nOnE": unsigned("nOnE"),
    "A1 NONE with something": unsigned("NONE", b"x"),
    "A1 none with a blank": unsigned("none "),
    "A1 empty algorithm": unsigned(""),
    "A1 no algorithm": unsigned(...),
    "A1 null": unsigned(None),
    "A1 a list": unsigned(["none"]),
    "A1 RS256 without a signature": unsigned("RS256"),
    "A1 RS256 with zeros": unsigned("RS256", bytes(256)),
    "A1 two parts": lambda forge: ".".join(forge.token().split(".")[:2]),
    "A2 PEM": hmac_with(pem),
    "A2 PEM without its last line end": hmac_with(lambda forge: pem(forge).rstrip()),
    "A2 PEM with two line ends": hmac_with(lambda forge: pem(forge) + b"\n"),
    "A2 PEM with CRLF": hmac_with(lambda forge: pem(forge).replace(b"\n", b"\r\n")),
    "A2 PEM of PKCS 1": hmac_with(lambda forge: forge.public(Encoding.PEM, PublicFormat.PKCS1)),
    "A2 DER": hmac_with(lambda forge: forge.public(Encoding.DER)),
    "A2 JWK": hmac_with(jwk),
    "A2 JWK sorted": hmac_with(lambda forge: jwk(forge, sort_keys=True, separators=(",", ":"))),
    "A2 modulus": hmac_with(lambda forge: str(forge.key().jwk["n"]).encode()),
    "A2 nothing": hmac_with(lambda forge: b""),
    "A2 HS384": hmac_with(pem, "HS384"),
    "A2 HS512": hmac_with(pem, "HS512"),
    "A2 RS512 by name": header(alg="RS512"),
    "A2 PS256 by name": header(alg="PS256"),
    "A2 rs256 in small letters": header(alg="rs256"),
    "A2 PSS under the name RS256": lambda forge: compact(
        forge.header(),
        claims(),
        lambda message: forge.key().private.sign(
            message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
        ),
    ),
    "A3 a path": header(kid="../../../../dev/null"),
    "A3 an absolute path": header(kid="/proc/sys/kernel/randomize_va_space"),
    "A3 SQL": header(kid="' OR 1=1 --"),
    "A3 a URL": header(kid="http://169.254.169.254/latest/meta-data"),
    "A3 a command": header(kid="key | sleep 9"),
    "A3 10 KB": header(kid="k" * 6000),
    "A3 a number": header(kid=1),
    "A3 a list": header(kid=["k"]),
    "A3 null": header(kid=None),
    "A3 an object": header(kid={"$ne": ""}),
    "A3 empty": header(kid=""),
    "A3 none": header(kid=...),
    "A3 other letters": header(kid="ключ\u202e"),
    "A3 NUL": header(kid="k\x00"),
    "A4 jwk": in_header("jwk"),
    "A4 x5c": in_header("x5c"),
    "A5 crit": header(crit=["x"], x=1),
    "A5 crit of exp": header(crit=["exp"]),
    "A5 empty crit": header(crit=[]),
    "A5 crit is text": header(crit="b64"),
    "A5 b64": header(b64=False),
    "A5 b64 critical": header(b64=False, crit=["b64"]),
    "A6 five parts": lambda forge: ".".join([b64(b'{"alg":"RSA-OAEP","enc":"A256GCM"}'), *["AAAA"] * 4]),
    "A6 nested": lambda forge: compact(forge.header(cty="JWT"), forge.token().encode(), rs256(forge.key().private)),
    "A6 zip": header(zip="DEF"),
    "A6 bomb": bomb,
    "A7 9 KB": payload(padding="x" * 7000),
    "A7 a header of 5 KB": header(padding="x" * 5000),
    "A7 a header of a deep list": lambda forge: compact(
        b'{"alg":"RS256","x":' + b"[" * 3000 + b"]" * 3000 + b"}", claims(), rs256(forge.key().private)
    ),
    "A7 points": lambda forge: "." * 8000,
    "A8 issued tomorrow": with_now(lambda now: {"iat": now + 86_400, "exp": now + 86_500}),
    "A8 issued beyond the leeway": with_now(lambda now: {"iat": now + 120, "exp": now + 600}),
    "A8 not before tomorrow": with_now(lambda now: {"nbf": now + 86_400}),
    "A8 two hours": with_now(lambda now: {"iat": now, "exp": now + 7200}),
    "A8 for ever": payload(exp=10**12),
    "A8 milliseconds": with_now(lambda now: {"iat": now * 1000, "exp": now * 1000 + 60_000}),
    "A8 exp is text": with_now(lambda now: {"exp": str(now + 60)}),
    "A8 exp is true": payload(exp=True),
    "A8 no exp": payload(exp=...),
    "A8 no iat": payload(iat=...),
    "A9 wrong audience": payload(aud="https://other.example.com"),
    "A9 our audience as a beginning": payload(aud="https://api.waooaw.ai.evil.example"),
    "A9 admin's audience": payload(aud=ISSUERS["admin"][1]),
    "A9 list without ours": payload(aud=["https://other.example.com", "x"]),
    "A9 no audience": payload(aud=...),
    "A9 empty audience": payload(aud=[]),
    "A9 admin's issuer": payload(iss=ISSUERS["admin"][0]),
    "A9 no issuer": payload(iss=...),
    "A9 issuers": payload(iss=[ISSUERS["customer"][0], ISSUERS["admin"][0]]),
    "A9 issuer with a slash": payload(iss=ISSUERS["customer"][0] + "/"),
    "A11 the admin's key under the customer's name": lambda forge: compact(
        forge.header(), claims(), rs256(forge.key("admin").private)
    ),
    "A11 the admin's kid and key under the customer's name": lambda forge: compact(
        forge.header("admin"), claims(), rs256(forge.key("admin").private)
    ),
    "A11 a stranger's key": lambda forge: compact(forge.header(), claims(), rs256(forge.strange_key)),
    "A11 an id token": header(typ="id+jwt"),
    "A11 a logout token": header(typ="logout+jwt"),
    "A11 a DPoP proof": header(typ="dpop+jwt"),
    "A11 duplicate sub": lambda forge: compact(
        forge.header(), json.dumps(claims()).encode()[:-1] + b',"sub":"admin"}', rs256(forge.key().private)
    ),
    "A11 duplicate alg": lambda forge: compact(
        b'{"alg":"none","alg":"RS256","kid":"%s"}' % forge.key().kid.encode(), claims(), rs256(forge.key().private)
    ),
    "A11 another payload under a good signature": lambda forge: ".".join(
        [*forge.token().split(".")[:1], b64(json.dumps(claims(role="admin")).encode()), forge.token().split(".")[2]]
    ),
}


@pytest.mark.attack("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8", "A9", "A11")
@pytest.mark.requirement("R87", "R88", "R89", "R90", "R91", "R103")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_good_token_is_refused(case: str, evidence: Evidence, client: Client, forge: Forge) -> None:
    token = REFUSED[case](forge)
    with evidence.attempt(token) as attempt:
        answer = client.call("POST", PATH, token=token, json=CONTENT)
        attempt.refused(answer, 401, "token_invalid")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.attack("A9")
@pytest.mark.requirement("R87", "R90")
@pytest.mark.parametrize(
    "changes", [{}, {"aud": ["https://other.example.com", ISSUERS["customer"][1]]}, {"exp": int(time.time()) + 3500}]
)
def test_the_token_that_the_others_are_made_of_is_good(
    changes: dict[str, object], evidence: Evidence, client: Client, forge: Forge
) -> None:
    token = forge.token(None, **changes)
    with evidence.attempt(token) as attempt:
        attempt.let_pass(client.call("POST", PATH, token=token, json=CONTENT), "marketing")


@pytest.mark.attack("A7")
@pytest.mark.requirement("R103")
@pytest.mark.parametrize("size", [40_000, 1_000_000])
def test_a_token_beyond_all_bounds_is_refused_by_envoy(size: int, evidence: Evidence, public_door: Door) -> None:
    with evidence.attempt() as attempt:
        request = head("GET", PATH, [("Authorization", f"Bearer {'a' * size}.e30.AAAA")])
        try:
            attempt.refused_by_envoy(send(public_door, request), {431})
        except OSError:
            # It was told while it was still sending.
            attempt.reached_nobody()


class Trap:
    """A web server that nobody should turn to."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/keys"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._socket.accept()
                self.visits += 1
                connection.close()
        except OSError:
            return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    one = Trap()
    yield one
    one.close()


@pytest.mark.attack("A3", "A4")
@pytest.mark.requirement("R103")
@pytest.mark.parametrize("place", ["jku", "x5u", "kid", "iss", "jwk"])
def test_no_token_makes_a_gateway_turn_to_somebody(
    place: str, trap: Trap, evidence: Evidence, client: Client, forge: Forge
) -> None:
    value: object = {"url": trap.url} if place == "jwk" else trap.url
    told = {} if place == "iss" else {place: value}
    text = compact(
        forge.header(**told), claims(**({"iss": trap.url} if place == "iss" else {})), rs256(forge.strange_key)
    )
    with evidence.attempt(text) as attempt:
        attempt.refused(client.call("POST", PATH, token=text, json=CONTENT), 401, "token_invalid")
    assert trap.visits == 0


@pytest.mark.attack("A14")
@pytest.mark.requirement("R24", "R103")
def test_unknown_kids_without_end_harm_no_good_token(
    evidence: Evidence, client: Client, forge: Forge, stack: Stack
) -> None:
    def fetches() -> float:
        text = "".join(evidence.http.get(url).text for url in stack.ready.metrics)
        lines = [line for line in text.splitlines() if line.startswith("apibank_authz_jwks") and "total{" in line]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    before = fetches()
    with evidence.attempt() as attempt:
        for number in range(150):
            unknown = compact(forge.header(kid=f"kid-{number}"), claims(), rs256(forge.key().private))
            assert client.call("GET", PATH, token=unknown).status_code == 401
        attempt.reached_nobody()
    # Of central alone, once per cooldown at most; other gateways fetch when it is their time.
    assert fetches() - before < 15
    with evidence.attempt() as attempt:
        attempt.let_pass(client.call("GET", PATH, token=forge.token()), "marketing")


@pytest.mark.attack("A16")
@pytest.mark.requirement("R12", "R24")
def test_the_key_that_is_published_ahead_is_good_at_once(
    evidence: Evidence, client: Client, stack: Stack, fresh: Fresh
) -> None:
    good = {"sub": fresh("user"), "role": "customer", "tier": "business", "scopes": ["marketing:*"]}
    token = mint(stack.state_dir, "customer", claims=good, next_key=True)
    with evidence.attempt(token) as attempt:
        attempt.let_pass(client.call("GET", PATH, token=token), "marketing")


@pytest.mark.attack("A2")
@pytest.mark.requirement("R87", "R103")
def test_a_shared_secret_that_anybody_knows_signs_nothing(evidence: Evidence, client: Client, forge: Forge) -> None:
    for secret in (b"secret", b"changeme", b"your-256-bit-secret", b"\0" * 32, b"waooaw"):
        token = compact(forge.header(alg="HS256", kid=...), claims(), hs256(secret))
        with evidence.attempt(token) as attempt:
            attempt.refused(client.call("GET", PATH, token=token), 401, "token_invalid")
