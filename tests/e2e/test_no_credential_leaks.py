"""No credential is found anywhere afterwards: they are sent in every place, and every output is searched (attack A58).

Searched are the answers, the logs of every process, Envoy's access logs, statistics and configuration dumps, metrics,
the database with its journal, the audit, everything in the store, command lines, and every file of the state.
"""

import asyncio
import base64
import json
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import httpx2
import psutil
import pytest
from redis import Redis

from apibank.ready import read_ready
from tests.support.client import CONTENT, Client
from tests.support.published import eventually
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from waooaw_signing import sign

PATH = "/api/marketing/content"
AGENTS = "/api/agents/memory"
# Whose files hold secrets because that is what they are for.
KEPT = ("issuer/", "secrets/", "tls/", "control.token")
# Headers in which clients' own programs put what they should not, and which programs like to log.
ODD_HEADERS = (
    "user-agent", "referer", "origin", "cookie", "x-forwarded-for", "x-real-ip", "forwarded", "x-request-id",
    "traceparent", "tracestate", "b3", "accept-language", "content-type", "if-none-match", "via", "x-debug",
    "x-waooaw-subject", "x-envoy-original-path", "grpc-timeout", "content-digest",
)  # fmt: skip


class Secrets:
    """What is sent, good and bad, and what of it must never be seen again."""

    def __init__(self, stack: Stack, key: str) -> None:
        tokens = Tokens(stack.state_dir)
        self.agent_secret = (stack.state_dir / "secrets" / "agents" / "vision").read_text().split()[0]
        fresh = iter(range(1000)).__next__
        self.keys = {"good": key, "unknown": "waw_live_sk_Leak9unKnown8keY7aB4", "test": "waw_test_sk_" + "L" * 20}
        self.tokens = {
            "good": tokens.of("marketing", lambda kind: f"{kind}-leak-{fresh()}"),
            "expired": tokens.of("marketing", lambda kind: "x", exp=1_700_000_000, iat=1_699_999_000),
            "admin": tokens.admin(lambda kind: f"{kind}-leak"),
        }
        good = self.tokens["good"]
        self.tokens["tampered"] = good[:-6] + ("AAAAAA" if good[-6:] != "AAAAAA" else "BBBBBB")
        self.signatures: list[str] = []

    def needles(self) -> dict[str, bytes]:
        """What to search for: whole texts, and the parts that would suffice to use them."""
        found = {f"key {name}": text for name, text in self.keys.items()}
        for name, token in self.tokens.items():
            # The signature is what makes the rest worth something.
            found[f"token {name}"] = token.split(".")[2][:40]
        found |= {f"signature {number}": text for number, text in enumerate(self.signatures)}
        found["agent secret"] = self.agent_secret
        raw = {name: text.encode() for name, text in found.items()}
        encoded = {f"{name}, base64": base64.b64encode(text)[:-4] for name, text in raw.items() if "key" in name}
        return raw | encoded | {f"{name}, quoted": urllib.parse.quote(text).encode() for name, text in raw.items()}


def signed(stack: Stack, secrets: Secrets, secret: str, body: bytes) -> dict[str, str]:
    url = stack.ready.central.internal_https + AGENTS
    headers = sign("POST", url, body, "vision", secret)
    secrets.signatures.append(headers["signature"].split(":")[1])
    return {"content-type": "application/json", **headers}


def wrong_places(secret: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Requests that carry a secret where none belongs."""
    yield "GET", f"{PATH}?api_key={secret}", {}
    yield "GET", f"{PATH}?x=1&q={secret}", {}
    yield "GET", f"{PATH}/{secret}", {}
    yield "GET", f"/nowhere/{secret}", {}
    yield "GET", f"/api/platform/health?{secret}", {}
    yield "GET", f"{PATH}/{urllib.parse.quote(''.join(f'%{ord(each):02x}' for each in secret), safe='%')}", {}
    for name in ODD_HEADERS:
        yield "GET", PATH, {"headers": [(name, secret)]}
    yield "GET", PATH, {"headers": [("authorization", secret)]}
    yield "GET", PATH, {"headers": [("authorization", f"ApiKey {secret}")]}
    yield "GET", PATH, {"headers": [("authorization", f"Basic {base64.b64encode(secret.encode()).decode()}")]}
    yield "GET", PATH, {"headers": [("proxy-authorization", f"Bearer {secret}")]}
    yield "GET", PATH, {"headers": [("x-api-key", secret), ("x-api-key", secret)]}
    yield "GET", PATH, {"headers": [("authorization", f"Bearer {secret}"), ("x-api-key", secret)]}
    yield "GET", PATH, {"headers": [("cookie", f"__Secure-waooaw-refresh={secret}")]}
    yield "POST", "/api/auth/refresh", {"headers": [("cookie", f"__Secure-waooaw-refresh={secret}")]}
    yield "POST", PATH, {"json": {**CONTENT, "tone": secret}}
    yield "POST", PATH, {"json": {**CONTENT, secret: 1}}
    yield "POST", PATH, {"content": secret.encode()}


def ask(client: Client, internal: Client, stack: Stack, secrets: Secrets) -> list[httpx2.Response]:
    """Everything that is sent; the answers."""
    answers = []
    for each in (*secrets.keys.values(), *secrets.tokens.values()):
        answers += [client.call("GET", PATH, key=each), client.call("GET", PATH, token=each)]
        for method, path, options in wrong_places(each):
            answers.append(client.call(method, path, **options))  # type: ignore[arg-type]
            # The same, by somebody who is known: it gets further.
            named = dict(options)
            if not str(named.get("headers", "")).count("authorization"):
                answers.append(client.call(method, path, token=secrets.tokens["good"], **named))  # type: ignore[arg-type]
    body = json.dumps({"id": "m", "type": "t", "sender": "vision", "recipient": "memory", "payload": {}}).encode()
    for secret in (secrets.agent_secret, "x" * 32):
        headers = signed(stack, secrets, secret, body)
        answers += [internal.call("POST", AGENTS, content=body, headers=headers, door="internal_https") for _ in "12"]
        answers.append(client.call("POST", PATH, content=body, headers=headers))
        answers.append(client.call("GET", f"{PATH}?signature={secrets.signatures[-1]}"))
    return answers


def spoken(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """Everything that says something about what happened, by where it is found."""
    for path in stack.state_dir.rglob("*"):
        name = path.relative_to(stack.state_dir).as_posix()
        if path.is_file() and not name.startswith(KEPT):
            yield name, path.read_bytes()
    admins = {place for one in stack.ready.gateways.values() for place in one.envoy_admins}
    pages = [f"{admin}/{page}" for admin in admins for page in ("stats", "config_dump", "clusters", "server_info")]
    pages += [*stack.ready.metrics, *(f"{url}/__hits" for url in stack.ready.upstreams.values())]
    for url in pages:
        with urllib.request.urlopen(url, timeout=10) as answer:
            yield url, answer.read()
    with Redis.from_url(stack.ready.store) as store:
        for key in store.scan_iter(count=1000):
            yield "a key of the store", key
            yield f"the value of {key!r}", store.dump(key) or b""
    for arguments in (("keys", "list"), ("tokens", "revocations"), ("status",), ("policy", "history")):
        yield f"apibank {arguments}", stack.run(*arguments, "-o", "json", check=False).stdout.encode()
    # Others may have restarted some of them meanwhile.
    for pid in read_ready(stack.state_dir).pids.values():
        yield f"the command line of {pid}", " ".join(psutil.Process(pid).cmdline()).encode()


def used(stack: Stack, key_id: str) -> bool:
    rows = json.loads(stack.run("keys", "list", "-o", "json").stdout)
    return any(row["id"] == key_id and row["last_used_at"] for row in rows)


@pytest.mark.attack("A55", "A58")
@pytest.mark.requirement("R95", "R106")
def test_no_credential_is_found_in_any_output(stack: Stack, client: Client, internal: Client) -> None:
    made = json.loads(
        stack.run(
            *("keys", "create", "--partner", "leaky", "--scope", "partner:leaky:marketing:*", "-o", "json")
        ).stdout
    )
    secrets = Secrets(stack, made["key"])
    answers = ask(client, internal, stack, secrets)
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 403, 404}
    # What is written in batches has been written: the last of these requests is in the database.
    asyncio.run(eventually(lambda: used(stack, made["id"])))
    needles = secrets.needles()
    outputs = list(spoken(stack))
    found = [(name, where) for where, text in outputs for name, needle in needles.items() if needle in text]
    for answer in answers:
        # The demo service says what it was sent; nothing of ours repeats anything.
        body = b"" if answer.status_code == 200 else answer.content
        said = body + b"\n".join(b": ".join(line) for line in answer.headers.raw)
        found += [(name, f"{answer.request.method} {answer.status_code}") for name, n in needles.items() if n in said]
    # What was looked at is what happened: it has the key's id, its owner, and why requests were refused.
    everything = b"".join(text for _, text in outputs)
    assert all(word in everything for word in (made["id"].encode(), b"leaky", b"credentials_in_url", b"key_invalid"))
    assert sorted(set(found)) == []


# People as clients tell of them: in what is looked for by its form, in any place; by name, in what is never kept.
PEOPLE = {
    "e-mail": "ann.leaky@example.com",
    "telephone": "+491711234567",
    "name": "Annabelle Leakington",
}
MARKER = "looked-for-afterwards"


def told_of_people(secrets: Secrets) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Requests that tell of people, good ones and ones that are refused."""
    good, mail, phone = secrets.tokens["good"], PEOPLE["e-mail"], PEOPLE["telephone"]
    everybody = ", ".join(PEOPLE.values())
    for token in (good, None):
        for topic in everybody, mail, PEOPLE["name"]:
            # What reaches a service is the service's to keep: the demo's puts it on the bus. Refused, it is nobody's.
            yield "POST", PATH, {"json": {**CONTENT, "topic": topic, "tone": topic}, "token": token}
            yield "POST", PATH, {"json": {**CONTENT, topic: 1}, "token": token}
        yield "POST", PATH, {"content": everybody.encode(), "token": token}
        yield "GET", f"{PATH}?who={urllib.parse.quote(everybody)}", {"token": token}
        for each in (mail, phone, urllib.parse.quote(mail, safe=""), urllib.parse.quote(phone, safe="")):
            yield "GET", f"{PATH}/{each}", {"token": token}
            yield "GET", f"/nowhere/{each}", {"token": token}
        for name in ODD_HEADERS:
            yield "GET", PATH, {"headers": [(name, mail)], "token": token}
        yield (
            "GET",
            PATH,
            {"headers": [("x-child-name", PEOPLE["name"]), ("cookie", f"who={everybody}")], "token": token},
        )


@pytest.mark.attack("A75")
@pytest.mark.requirement("R20")
def test_nobody_is_found_in_any_output(stack: Stack, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    secrets = Secrets(stack, "waw_live_sk_none")
    # The subject is an id of the issuer's own: counters are kept under it, for as long as their window lasts.
    named = tokens.of("marketing", fresh, email=PEOPLE["e-mail"], phone_number=PEOPLE["telephone"], name=PEOPLE["name"])
    answers = [client.call(method, path, **options) for method, path, options in told_of_people(secrets)]  # type: ignore[arg-type]
    answers.append(client.call("POST", PATH, token=named, json=CONTENT))
    answers.append(client.call("GET", f"{PATH}/{MARKER}", token=secrets.tokens["good"]))
    assert {answer.status_code for answer in answers} >= {200, 400, 401}
    database = stack.state_dir / "telemetry.db"

    def is_told() -> bool:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as file:
            wanted = (("access_log", "path"), ("spans", "attributes"))
            asked = [f"SELECT count(*) FROM {table} WHERE {column} LIKE ?" for table, column in wanted]
            return all(file.execute(one, (f"%{MARKER}%",)).fetchone()[0] for one in asked)

    # Spans are told every five seconds, and are the last.
    asyncio.run(eventually(is_told, 40))
    needles = {name: text.encode() for name, text in PEOPLE.items()}
    needles |= {f"{name}, quoted": urllib.parse.quote(text).encode() for name, text in PEOPLE.items()}
    needles |= {f"{name}, base64": base64.b64encode(text.encode())[:-4] for name, text in PEOPLE.items()}
    outputs = list(spoken(stack))
    found = [(name, where) for where, text in outputs for name, needle in needles.items() if needle in text]
    assert MARKER.encode() in b"".join(text for _, text in outputs)
    assert sorted(set(found)) == []
