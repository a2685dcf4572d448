"""Requests as large and as awkward as Envoy lets through: 60 KB of headers, bodies at the limit of their route."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

from authz.request import Request
from tests.unit.authz.world import AGENTS, API_KEY, CONTENT, MESSAGE, request, signed, token

HEADERS = 60_000
BODY = 65_536
AGENTS_BODY = 1_048_576

# Repeated until the space is full: each has once been, or would be, slow for some way of reading it.
FRAGMENTS = (
    *("a", "0", ".", "=", ",", ";", '"', "\\", "(", "-", "/", " ", "%", "%41", "%41&", "&", "=&", ";=", "é", "😀"),
    *("ey", "eyAAAAAAAA", "eyAAAAAAAA.", "eyAAAAAAAA.eyAAAAAAAA.", "waw_", "waw_a", "waw_live_sk_", "%65%79", "a/"),
    *("a%20", "%25", "%C3%A9/", "/..", "a.", "a.b/", "token=&", "+token", 'sig1=("@method")', ",sig1=:AAAA:", "?a=1"),
)
# Of each body the beginning, what is repeated, and the end.
SHAPES = (
    ("[", "1,", "1]"),
    ("[", '"x",', "1]"),
    ("[", "{},", "1]"),
    ("[", "[],", "1]"),
    ("[", "1.5,", "1]"),
    ("[", "1e9,", "1]"),
    ("[", "1234567890123456,", "1]"),
    ("[", "123456789012345,", "1]"),
    ("[", '{"a":1},', "1]"),
    ("[", '{"a":1,"a":2},', "1]"),
    ("[", '{"a":{"a":{"a":{}}}},', "1]"),
    ("", "[", ""),
    ("", '{"a":', ""),
    ("", "[[[[]]]],", ""),
    ("", "1", ""),
    ("1.", "1", ""),
    ("1e", "1", ""),
    ("0.", "0", "1"),
    ('"', "a", '"'),
    ('"', "\\\\u0061", '"'),
    ('"', "\\u00e9", '"'),
    ('"', "\\ud800", '"'),
    ('"', "é", '"'),
    ('"', ",", '"'),
    ('{"keywords":[', "1,", "1]}"),
    ('{"keywords":[', '"x",', '"x"]}'),
    ('{"payload":{"a":[', "1,", "1]}}"),
    ('{"payload":{"a":[', "{},", "1]}}"),
    ('{"topic":"', "a", '"}'),
    ('{"length":', "1", "}"),
    ("", " ", ""),
    ("", "\n", "1"),
)


def calls_of(work: Callable[[], object]) -> int:
    """How many calls some work makes, those into C included: a measure that no other program disturbs."""
    count = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def filled(fragment: str, size: int) -> str:
    return fragment * (size // len(fragment.encode()))


def bodies(size: int) -> Iterator[tuple[str, bytes]]:
    for start, fragment, end in SHAPES:
        body = start + filled(fragment, size - len(start) - len(end)) + end
        yield f"{start}{fragment}", body.encode()
    # As many values as are still read: one for 64 octets, or 4096.
    for fragment in ("1", "1.5", "1234567890123456", '"x"', "{}", "[]", '{"":0}', '{"a":[]}'):
        costs = 1 + fragment.count("{") + fragment.count("[")
        count = max(4096, size // 64) // costs - 2
        listed = ",".join([fragment.ljust(min(64 * costs, size // count - 1))] * count)
        yield f"sparse {fragment}", f"[{listed}]".encode()
        yield f"sparse payload {fragment}", json.dumps(MESSAGE).replace("{}", f'{{"a":[{listed}]}}').encode()
    # As many names as fit, all different: an error for each of them.
    names = ",".join(f'"{number:05x}":0' for number in range(size // 11 - 2))
    yield "names", b"{" + names.encode() + b"}"
    for depth in (30, 31):
        nested = "[" * depth + filled("[],", (size - 2 * depth - 4) // 2) + "1" + "]" * depth
        yield f"nested {depth}", nested.encode()


def requests() -> Iterator[tuple[str, Request]]:
    """By a name that says what is hostile about each."""
    good = token()
    for fragment in FRAGMENTS:
        text = filled(fragment, HEADERS)
        yield f"user-agent {fragment}", request(token=good, headers={"user-agent": text})
        yield f"path {fragment}", request(token=good, path=f"/api/marketing/content/{text}")
        yield f"short path {fragment}", request(token=good, path=f"/api/marketing/content/{text[:8000]}")
        yield f"query {fragment}", request(token=good, path=f"/api/marketing/content?{text}")
        yield f"short query {fragment}", request("docs", path=f"/api/marketing/docs?{text[:8192]}")
        yield f"authorization {fragment}", request(headers={"authorization": f"Bearer {text}"})
        yield f"short authorization {fragment}", request(headers={"authorization": f"Bearer {text[:8000]}"})
        yield f"token {fragment}", request(token=f"{good.split('.')[0]}.{text[:7000]}.{'A' * 342}")
        yield f"x-api-key {fragment}", request(key=API_KEY + text)
        yield f"authority {fragment}", request(token=good, authority=text)
        yield f"method {fragment}", request(token=good, method=text)
        yield (
            f"content-type {fragment}",
            request(token=good, method="POST", json_body=CONTENT, headers={"content-type": f"application/json;{text}"}),
        )
        yield f"content-length {fragment}", request("docs", method="POST", headers={"content-length": text})
        yield f"address {fragment}", request("office", token=good, address=text)
        for name in ("signature", "signature-input", "content-digest"):
            yield f"{name} {fragment}", signed(headers={name: text})
            yield f"short {name} {fragment}", signed(headers={name: text[:4096]})
    yield "headers", request(token=good, headers={f"x-{number:05}": "" for number in range(HEADERS // 8)})
    yield "spoofed headers", request(token=good, headers={f"x-user-{number:04}": "" for number in range(HEADERS // 11)})
    for name, body in bodies(BODY):
        headers = {"content-type": "application/json"}
        yield f"body {name}", request(token=good, method="POST", body=body, headers=headers)
    for name, body in bodies(AGENTS_BODY):
        yield f"message {name}", replace(signed(body=body), policy=AGENTS.version)
    payload = json.dumps({**MESSAGE, "payload": {"numbers": [0.123456789] * 20_000}}).encode()
    yield "message of numbers", signed(body=payload)
