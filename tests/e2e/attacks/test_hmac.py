"""Signed requests that were changed, repeated, weakened or signed by somebody else, at the agents' door."""

import base64
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.client import CONTENT, Client
from tests.support.evidence import Answered, Evidence
from tests.support.raw import Door, head, send
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from waooaw_signing import content_digest, signature, signature_base
from waooaw_signing.signing import COMPONENTS, signature_parameters

PATH = "/api/agents/memory"
QUERY = "?since=1&kind=a"
HEADERS = {"content-type": "application/json"}


def message(sender: str = "vision", **fields: object) -> bytes:
    body = {"id": "m-2", "type": "task.created", "sender": sender, "recipient": "memory", "payload": {"n": 1}, **fields}
    return json.dumps(body).encode()


@dataclass
class Signer:
    """Signs by the letter, or against it: what is covered, with which values and parameters, under which secret."""

    stack: Stack
    door: Door
    fresh: Fresh

    def secret(self, agent: str = "vision") -> bytes:
        path = self.stack.state_dir / "secrets" / "agents" / agent
        return path.read_text(encoding="utf-8").split()[0].encode()

    @property
    def authority(self) -> str:
        return self.door.url.removeprefix("https://")

    def sign(
        self,
        body: bytes = b"",
        *,
        method: str = "POST",
        target: str = PATH,
        components: tuple[str, ...] = COMPONENTS,
        values: dict[str, str] | None = None,
        secret: bytes | None = None,
        digest: str | None = None,
        encode: Callable[[str], str] = str,
        **parameters: object,
    ) -> dict[str, str]:
        path, mark, query = target.partition("?")
        covered = signature_parameters(components, self.parameters(**parameters))
        told = content_digest(body) if digest is None else digest
        known = {
            "@method": method, "@authority": self.authority, "@path": path, "@query": mark + query or "?",
            "content-digest": told, **(values or {}),
        }  # fmt: skip
        base = signature_base(known, components, covered)
        proof = encode(signature(base, self.secret() if secret is None else secret))
        return {**HEADERS, "content-digest": told, "signature-input": f"sig1={covered}", "signature": f"sig1=:{proof}:"}

    def parameters(self, **changes: object) -> dict[str, str | int]:
        good: dict[str, object] = {
            "created": int(time.time()), "nonce": self.fresh("nonce-of-the-attacks-00"), "keyid": "vision",
            "alg": "hmac-sha256", "tag": "waooaw-agent", **changes,
        }  # fmt: skip
        return {name: value for name, value in good.items() if value is not ...}  # type: ignore[misc]

    def send(
        self, headers: dict[str, str], body: bytes = b"", *, method: str = "POST", target: str = PATH, host: str = ""
    ) -> Answered:
        lines = [*headers.items(), *([("Content-Length", str(len(body)))] if body else [])]
        return send(self.door, head(method, target, lines, host=host or self.authority) + body)


@pytest.fixture
def signer(stack: Stack, inner_door: Door, fresh: Fresh) -> Signer:
    return Signer(stack, inner_door, fresh)


@pytest.mark.attack("A22", "A23", "A27")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize("target", [PATH, PATH + QUERY, PATH + "?", PATH + "/requests/1"])
def test_the_signature_that_the_others_are_made_of_is_good(target: str, signer: Signer, evidence: Evidence) -> None:
    for method, body in (("POST", message()), ("GET", b"")):
        with evidence.attempt() as attempt:
            headers = signer.sign(body, method=method, target=target)
            attempt.let_pass(signer.send(headers, body, method=method, target=target), "agents")


@pytest.mark.attack("A19")
@pytest.mark.requirement("R60")
def test_the_same_octets_a_second_time_are_refused(signer: Signer, evidence: Evidence) -> None:
    headers = signer.sign(message())
    with evidence.attempt() as attempt:
        attempt.let_pass(signer.send(headers, message()), "agents")
    with evidence.attempt(headers["signature"]) as attempt:
        attempt.refused(signer.send(headers, message()), 401, "signature_replayed")
    # Another label, or another order of the fields, is the same nonce.
    relabelled = {name: value.replace("sig1", "sig2") for name, value in headers.items()}
    with evidence.attempt(headers["signature"]) as attempt:
        attempt.refused(signer.send(relabelled, message()), 401, "signature_replayed")
    fresh = signer.sign(message(), nonce=headers["signature-input"].split('nonce="')[1].split('"')[0])
    with evidence.attempt(headers["signature"]) as attempt:
        attempt.refused(signer.send(fresh, message()), 401, "signature_replayed")


COVERED: dict[str, tuple[str, ...]] = {
    **{f"A20 without {name}": tuple(each for each in COMPONENTS if each != name) for name in COMPONENTS},
    "A20 nothing": (),
    "A20 the date alone": ("date",),
    "A20 the digest twice": (*COMPONENTS, "content-digest"),
    "A20 the target in one": ("@method", "@authority", "@request-target", "content-digest"),
    "A27 a header that is absent": (*COMPONENTS, "x-absent"),
    "A27 in capitals": tuple(each.upper() for each in COMPONENTS),
    "A27 an unknown derived one": (*COMPONENTS, "@evil"),
    "A27 of the answer": (*COMPONENTS, "@status"),
}


@pytest.mark.attack("A20", "A27")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize("case", COVERED)
def test_a_signature_over_something_else_is_refused(case: str, signer: Signer, evidence: Evidence) -> None:
    absent = {"date": "x", "x-absent": "", "@evil": "x", "@status": "200", "@request-target": PATH}
    known = {**absent, **{name.upper(): PATH for name in COMPONENTS}}
    headers = signer.sign(message(), components=COVERED[case], values=known)
    with evidence.attempt(headers["signature"]) as attempt:
        attempt.refused(signer.send({**headers, "date": "x"}, message()), 401, "signature_invalid")


Changes = Callable[[Signer], dict[str, str]]


def of(**options: object) -> Changes:
    return lambda signer: signer.sign(message(), **options)  # type: ignore[arg-type]


def aged(age: float) -> Changes:
    return lambda signer: signer.sign(message(), created=int(time.time() + age))


def instead(name: str, old: str, new: str) -> Changes:
    """A good signature, one field of which is changed afterwards."""

    def change(signer: Signer) -> dict[str, str]:
        headers = signer.sign(message())
        assert old in headers[name]
        return {**headers, name: headers[name].replace(old, new)}

    return change


def without(name: str) -> Changes:
    return lambda signer: {key: value for key, value in signer.sign(message()).items() if key != name}


def created(text: str) -> Changes:
    """A signature over a time that is written in another way."""

    def make(signer: Signer) -> dict[str, str]:
        names = " ".join(f'"{name}"' for name in COMPONENTS)
        covered = (
            f'({names});created={text};nonce="{signer.fresh("nonce-of-odd-times-0000")}";keyid="vision";'
            'alg="hmac-sha256";tag="waooaw-agent"'
        )
        told = content_digest(message())
        known = {
            "@method": "POST", "@authority": signer.authority, "@path": PATH, "@query": "?", "content-digest": told,
        }  # fmt: skip
        proof = signature(signature_base(known, COMPONENTS, covered), signer.secret())
        return {**HEADERS, "content-digest": told, "signature-input": f"sig1={covered}", "signature": f"sig1=:{proof}:"}

    return make


OTHER_DIGEST = content_digest(b"{}")
REFUSED: dict[str, Changes] = {
    "A21 another digest afterwards": lambda signer: {**signer.sign(b"{}"), "content-digest": content_digest(message())},
    "A21 the old Digest header": lambda signer: {**signer.sign(b"{}"), "digest": content_digest(message())},
    "A21 two digests of which one fits": lambda signer: signer.sign(
        message(), digest=f"{content_digest(message())}, sha-512=:AAAA:"
    ),
    "A21 two digests under one name": lambda signer: signer.sign(
        message(), digest=f"{OTHER_DIGEST}, {content_digest(message())}"
    ),
    "A21 an unknown digest": of(digest="md5=:AAAA:"),
    "A21 an unknown digest beside ours": lambda signer: signer.sign(
        message(), digest=f"{content_digest(message())}, md5=:AAAA:"
    ),
    "A22 no digest": without("content-digest"),
    "A22 an empty digest": of(digest=""),
    "A22 the digest of nothing": of(digest=content_digest(b"")),
    "A22 of another body": of(digest=OTHER_DIGEST),
    "A23 62 seconds ago": aged(-62),
    "A23 62 seconds ahead": aged(63),
    "A23 a year ago": aged(-31_536_000),
    "A23 milliseconds": lambda signer: signer.sign(message(), created=int(time.time() * 1000)),
    "A23 negative": of(created=-1),
    "A23 zero": of(created=0),
    "A23 NaN": created("NaN"),
    "A23 1e20": created("1e20"),
    "A23 sixteen digits": created("1000000000000000"),
    "A23 a fraction": created(f"{time.time():.1f}"),
    "A23 text": created(f'"{math.floor(time.time())}"'),
    "A23 true": created("?1"),
    "A23 none": lambda signer: signer.sign(message(), created=...),
    "A23 expired": lambda signer: signer.sign(message(), expires=int(time.time()) - 1),
    "A24 no nonce": of(nonce=...),
    "A24 an empty nonce": of(nonce=""),
    "A24 a short nonce": of(nonce="short"),
    "A24 a nonce of blanks": of(nonce=" " * 20),
    "A25 an unknown agent": of(keyid="nobody"),
    "A25 an agent by a path": of(keyid="../agents/vision"),
    "A25 an agent in capitals": of(keyid="VISION"),
    "A25 another agent's secret": lambda signer: signer.sign(message(), secret=signer.secret("memory")),
    "A25 another agent's name": of(keyid="memory"),
    "A25 a bad signature": instead("signature", "sig1=:", "sig1=:AAAA"),
    "A25 an empty signature": of(encode=lambda proof: ""),
    "A25 half a signature": of(encode=lambda proof: proof[:20]),
    "A25 a signature twice": of(encode=lambda proof: proof.rstrip("=") + proof),
    "A25 not base64": of(encode=lambda proof: "!!!!"),
    "A25 base64 for URLs": of(encode=lambda proof: "-_" + proof[2:]),
    "A25 octets that are not ASCII": of(encode=lambda proof: proof[:-2] + "é="),
    "A25 as text": instead("signature", "sig1=:", 'sig1=":'),
    "A25 two signatures": lambda signer: {
        name: f"{value}, {value.replace('sig1', 'sig2')}" if name.startswith("signature") else value
        for name, value in signer.sign(message()).items()
    },
    "A25 another label": instead("signature", "sig1", "sig2"),
    "A25 no input": without("signature-input"),
    "A25 no signature": without("signature"),
    "A26 sha1": of(alg="hmac-sha1"),
    "A26 unknown": of(alg="rot13"),
    "A26 none": of(alg="none"),
    "A26 capitals": of(alg="HMAC-SHA256"),
    "A26 absent": of(alg=...),
    "A26 RSA": of(alg="rsa-v1_5-sha256"),
    "A26 an empty secret": of(secret=b""),
    "A26 an empty secret of nobody": of(secret=b"", keyid="nobody"),
    "A26 the name as secret": of(secret=b"vision"),
    "A26 the secret with its line end": lambda signer: signer.sign(message(), secret=signer.secret() + b"\n"),
    "A26 the secret decoded": lambda signer: signer.sign(
        message(), secret=base64.urlsafe_b64decode(signer.secret() + b"==")
    ),
    "A26 another tag": of(tag="other"),
    "A26 no tag": of(tag=...),
    "A26 a parameter of its own": of(evil="1"),
    "A27 another port": lambda signer: signer.sign(message(), values={"@authority": "127.0.0.1:1"}),
    "A27 no port": lambda signer: signer.sign(message(), values={"@authority": "127.0.0.1"}),
    "A27 another query": of(target=PATH + "?a"),
    "A27 a tilde encoded": of(values={"@path": "/api/%61gents/memory"}),
    "A27 GET for POST": of(method="GET"),
    "A27 post in small letters": of(method="post"),
}


@pytest.mark.attack("A21", "A22", "A23", "A24", "A25", "A26", "A27")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize("case", REFUSED)
def test_a_signature_that_is_not_this_requests_is_refused(case: str, signer: Signer, evidence: Evidence) -> None:
    headers = REFUSED[case](signer)
    with evidence.attempt(headers.get("signature", "")) as attempt:
        attempt.refused(signer.send(headers, message()), 401, "signature_invalid")


# What is signed, and what is sent in its place.
EXCHANGED = {
    "A27 parameters in another order": (PATH + "?a=1&b=2", PATH + "?b=2&a=1"),
    "A27 a plus for a blank": (PATH + "?a=%20", PATH + "?a=+"),
    "A27 another escape": (PATH + "?a=%7e", PATH + "?a=~"),
    "A27 small letters of an escape": (PATH + "?a=%C3", PATH + "?a=%c3"),
    "A27 a parameter more": (PATH + "?a=1", PATH + "?a=1&a=2"),
    "A27 no query for an empty one with more": (PATH + "?", PATH + "?x"),
    "A20 another path": (PATH, "/api/agents/vision"),
    "A20 a longer path": (PATH, PATH + "/x"),
}


@pytest.mark.attack("A20", "A27")
@pytest.mark.requirement("R60")
@pytest.mark.parametrize("case", EXCHANGED)
def test_another_target_under_a_signature_is_refused(case: str, signer: Signer, evidence: Evidence) -> None:
    signed, sent = EXCHANGED[case]
    headers = signer.sign(message(), target=signed)
    with evidence.attempt(headers["signature"]) as attempt:
        attempt.refused(signer.send(headers, message(), target=sent), 401, "signature_invalid")


@pytest.mark.attack("A21")
@pytest.mark.requirement("R60")
def test_another_body_under_a_signature_is_refused(signer: Signer, evidence: Evidence) -> None:
    headers = signer.sign(message())
    for body in (message(payload={"n": 2}), message() + b" ", b"", b"{}"):
        with evidence.attempt(headers["signature"]) as attempt:
            attempt.refused(signer.send(headers, body), 401, "signature_invalid")


@pytest.mark.attack("A27")
@pytest.mark.requirement("R60")
def test_one_authority_has_one_canonical_form_and_another_host_is_refused(signer: Signer, evidence: Evidence) -> None:
    _, _, port = signer.authority.partition(":")
    headers = signer.sign(message(), values={"@authority": f"localhost:{port}"})
    with evidence.attempt() as attempt:
        attempt.let_pass(signer.send(headers, message(), host=f"LOCALHOST:{port}"), "agents")
    for host in (f"localhost.:{port}", "localhost", f"evil.example:{port}"):
        again = signer.sign(message(), values={"@authority": f"localhost:{port}"})
        with evidence.attempt(again["signature"]) as attempt:
            attempt.refused(signer.send(again, message(), host=host), 401, "signature_invalid")


@pytest.mark.attack("A24")
@pytest.mark.requirement("R60")
def test_a_nonce_of_another_agent_is_nobodys_and_one_without_end_is_a_bad_request(
    signer: Signer, evidence: Evidence
) -> None:
    nonce = signer.fresh("nonce-that-two-agents-use")
    for agent in ("vision", "memory"):
        body = message(agent)
        headers = signer.sign(body, keyid=agent, secret=signer.secret(agent), nonce=nonce)
        with evidence.attempt() as attempt:
            attempt.let_pass(signer.send(headers, body), "agents")
    long = signer.sign(message(), nonce="n" * 6000)
    with evidence.attempt(long["signature"]) as attempt:
        attempt.refused(signer.send(long, message()), 400, "signature_oversized")
    endless = signer.sign(message(), nonce="n" * 200_000)
    with evidence.attempt(endless["signature"]) as attempt:
        try:
            attempt.refused_by_envoy(signer.send(endless, message()), {431})  # type: ignore[arg-type]
        except OSError:
            attempt.reached_nobody()


@pytest.mark.attack("A25", "A30")
@pytest.mark.requirement("R60")
def test_an_unknown_agent_and_a_bad_signature_get_one_answer(signer: Signer, evidence: Evidence) -> None:
    shown = []
    for options in ({"keyid": "nobody"}, {"secret": b"x" * 32}):
        headers = signer.sign(message(), **options)  # type: ignore[arg-type]
        with evidence.attempt(headers["signature"]) as attempt:
            answer = signer.send(headers, message())
            attempt.refused(answer, 401, "signature_invalid")
            body = {**answer.json(), "request_id": ""}
            kept = {name: text for name, text in answer.headers.items() if name not in {"x-request-id", "date"}}
            shown.append((answer.status_code, body, kept))
    assert shown[0] == shown[1]


@pytest.mark.attack("A28")
@pytest.mark.requirement("R60", "R68")
def test_each_door_takes_its_own_credentials_alone(
    signer: Signer, evidence: Evidence, internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    for token in (tokens.of("marketing", fresh), tokens.admin(fresh)):
        with evidence.attempt(token) as attempt:
            answer = internal.call("POST", PATH, token=token, content=message(), headers=HEADERS, door="internal_https")
            attempt.refused(answer, 401, "signature_missing")
    body = json.dumps(CONTENT).encode()
    headers = signer.sign(body, target="/api/marketing/content", values={"@authority": "127.0.0.1"})
    with evidence.attempt(headers["signature"]) as attempt:
        answer = internal.call("POST", "/api/marketing/content", content=body, headers=headers)
        attempt.refused(answer, 401, "token_missing")


@pytest.mark.attack("A29")
@pytest.mark.requirement("R62")
@pytest.mark.parametrize("sender", ["memory", "Vision", "vision2", "orchestration"])
def test_a_message_in_anothers_name_is_refused(sender: str, signer: Signer, evidence: Evidence) -> None:
    body = message(sender)
    headers = signer.sign(body)
    wrong_form = sender[0].isupper()
    with evidence.attempt(headers["signature"]) as attempt:
        answer = signer.send(headers, body)
        attempt.refused(answer, 400 if wrong_form else 403, "body_invalid" if wrong_form else "sender_mismatch")
