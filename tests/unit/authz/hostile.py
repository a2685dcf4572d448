"""Requests as large and as awkward as Envoy lets through: 60 KB of headers, bodies at the limit of their route."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FrameType

from authz.request import Request
from tests.unit.authz.world import API_KEY, CONTENT, MESSAGE, agents_rules, request, rules, signed, token

HEADERS = 60_000
BODY = 65_536
AGENTS_BODY = 1_048_576
RULES = {
    "marketing": rules(),
    "agents": agents_rules(
        defaults={"methods": {"GET": "read", "POST": "write"}, "max_body_bytes": AGENTS_BODY},
    ),
}

GOOD = token()
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
    """By a name that says what is hostile about each. All are to be decided by RULES of their gateway."""
    for fragment in FRAGMENTS:
        for name, asked in (*_without_credentials(fragment), *_with_credentials(fragment)):
            yield f"{name} {fragment}", _under_rules(asked)
    for name, asked in _with_many_headers():
        yield name, asked
    for name, body in bodies(BODY):
        yield f"body {name}", _with_body(body)
    for name, body in bodies(AGENTS_BODY):
        yield f"message {name}", _under_rules(signed(body=body))


def _under_rules(asked: Request) -> Request:
    return replace(asked, policy=RULES[asked.gateway].version)


def _with_body(body: bytes) -> Request:
    return request(token=GOOD, method="POST", body=body, headers={"content-type": "application/json"})


def _with_many_headers() -> Iterator[tuple[str, Request]]:
    yield "headers", request(token=GOOD, headers={f"x-{number:05}": "" for number in range(HEADERS // 8)})
    yield "claims", request(token=GOOD, headers={f"x-user-{number:04}": "" for number in range(HEADERS // 12)})


def _without_credentials(fragment: str) -> Iterator[tuple[str, Request]]:
    text = filled(fragment, HEADERS)
    yield "public path", request("docs", path=f"/api/marketing/docs/{text[:8000]}")
    yield "public query", request("docs", path=f"/api/marketing/docs?{text[:8192]}")
    yield "content-length", request("docs", method="POST", headers={"content-length": text})
    yield "authorization", request(headers={"authorization": f"Bearer {text}"})
    yield "short authorization", request(headers={"authorization": f"Bearer {text[:8000]}"})
    yield "payload of a token", request(token=f"{GOOD.split('.')[0]}.{text[:7000]}.{'A' * 342}")
    yield "x-api-key", request(key=API_KEY + text)
    for name in ("signature", "signature-input", "content-digest"):
        yield name, signed(headers={name: text})
        yield f"short {name}", signed(headers={name: text[:4096]})


def _with_credentials(fragment: str) -> Iterator[tuple[str, Request]]:
    text = filled(fragment, HEADERS)
    yield "user-agent", request(token=GOOD, headers={"user-agent": text})
    yield "path", request(token=GOOD, path=f"/api/marketing/content/{text}")
    yield "query", request(token=GOOD, path=f"/api/marketing/content?{text}")
    yield "authority", request(token=GOOD, authority=text)
    yield "method", request(token=GOOD, method=text)
    yield "address", request("office", token=GOOD, address=text)
    headers = {"content-type": f"application/json;{text}"}
    yield "content-type", request(token=GOOD, method="POST", json_body=CONTENT, headers=headers)
