"""The witness: one event per decision, without a secret and without a name of a person."""

import asyncio
import hashlib
import json
import re
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Final, Protocol
from urllib.parse import unquote_plus

import orjson
import structlog

from authz.decision import Decision
from authz.principal import Kind
from authz.request import Request
from policy.descriptors import CLIENT_ADDRESS_HEADER

_LOG: Final = structlog.get_logger(__name__)
# Short, because no check is answered while a batch is made into text.
_BATCH: Final = 64
_MAX_PATH: Final = 512
_MAX_AGENT: Final = 200
# Things in a path or a user agent that could be a credential. The search takes what it has looked at along even where
# that is none, and so never looks at it again: its time is linear in the text.
_SUSPECT: Final = re.compile(r"waw_[a-z]++_sk_[0-9A-Za-z]*+|ey[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_.-]*+)?")
# What follows the name in an e-mail address, what ends the name, and a phone number in its international form: who is
# asked about is nobody's business either.
_DOMAIN: Final = re.compile(r"@(?:[\w-]{1,63}+\.){1,8}+[^\W\d_]{2,}+")
_NO_NAME: Final = frozenset("/()<>;,:\"'@ \t")
_LONGEST_NAME: Final = 64
_PHONE: Final = re.compile(r"\+[0-9](?:[ ().-]{0,2}+[0-9]){7,14}+(?![0-9])")
_HALF_ESCAPE: Final = re.compile(r"%[0-9A-Fa-f]?\Z")
_MASK: Final = "[redacted]"


@dataclass(slots=True)
class AuditEvent:
    """Who, what, when, from where, and what came of it. `at` in seconds since the epoch.

    Nobody writes to it; it is not frozen because freezing costs microseconds per request.

    `subject` is a keyed hash: equal for equal subjects, and nobody's name; so are `tenant` and `credential_id` where
    they are e-mail addresses. `path` has no query. Partners and agents are organisations and programs and stand by
    name.
    """

    at: float
    request_id: str
    gateway: str
    policy: str
    listener: str
    route: str
    method: str
    path: str
    address: str
    user_agent: str
    kind: str
    subject: str
    role: str
    tier: str
    tenant: str
    partner: str
    agent: str
    credential_id: str
    outcome: str
    reason: str
    status: int
    cause: str


class AuditSink(Protocol):
    """Where events go. It never waits: a decision is not held up by its own record."""

    def offer(self, event: AuditEvent) -> bool:
        """Whether there was room for the event; False means that it is lost."""
        ...


class AuditRecorder(Protocol):
    """Where events go that a request may not be answered without."""

    def record(self, event: AuditEvent) -> Awaitable[bool]:
        """Take the event; what is returned says, in bounded time, whether it is on disk.

        The event is taken by the call: whoever has nothing to refuse need not wait. Events of one gateway are kept in
        the order of the calls.
        """
        ...


class Pseudonyms:
    """Keyed hashes of names. With the same key, replicas and restarts give the same name the same hash."""

    def __init__(self, key: bytes | None = None) -> None:
        """`key`: up to 64 octets; without one the hashes of this process can be compared only with each other."""
        pepper = secrets.token_bytes(32) if key is None else key
        self.of: Callable[[str], str] = lru_cache(maxsize=16_384)(
            lambda name: hashlib.blake2b(name.encode(), key=pepper, digest_size=12).hexdigest() if name else ""
        )


def _masked(text: str, is_cut: bool) -> str:
    """The text without who is named, and without what is a credential, or the beginning of one that goes on where the
    text was cut."""
    if "@" in text:
        text = _without_addresses(text)
    if "+" in text:
        text = _PHONE.sub(_MASK, text)
    # Hardly any text holds either of the two, and looking for them is cheaper than searching for the pattern.
    if "_sk_" not in text and "ey" not in text:
        return text

    def mask(found: re.Match[str]) -> str:
        word = found[0]
        return _MASK if "." in word or "_sk_" in word or (is_cut and found.end() == len(text)) else word

    return _SUSPECT.sub(mask, text)


def _without_addresses(text: str) -> str:
    kept: list[str] = []
    done = 0
    for found in _DOMAIN.finditer(text):
        at = start = found.start()
        while start > max(done, at - _LONGEST_NAME) and text[start - 1] not in _NO_NAME:
            start -= 1
        if start < at:
            kept += (text[done:start], _MASK)
            done = found.end()
    return "".join((*kept, text[done:]))


def redacted(text: str, limit: int = _MAX_PATH) -> str:
    """The beginning of a text, without what could be a credential or names a person."""
    # Most texts hold nothing that begins any of them.
    if len(text) <= limit and "%" not in text and "ey" not in text and "@" not in text and "+" not in text:
        return text if "_sk_" not in text else _masked(text, is_cut=False)[:limit]
    # Whatever a client sends, only this much is looked at; it is more than is kept, since a mask can be shorter than
    # what it covers.
    looked_at = text[: 2 * limit]
    is_cut = len(looked_at) < len(text)
    if "%" in looked_at:
        # An escape of which only the beginning is left would stand between a credential and the cut.
        decoded = unquote_plus(_HALF_ESCAPE.sub("", looked_at) if is_cut else looked_at)
        if _masked(decoded, is_cut) != decoded:
            return _MASK
    return _masked(looked_at, is_cut)[:limit]


def audit_event(request: Request, decision: Decision, at: float, pseudonyms: Pseudonyms) -> AuditEvent:
    principal, headers = decision.principal, request.headers
    refusal = decision.refusal or decision.waived
    # By position, since names cost more than a microsecond: the order is that of AuditEvent.
    return AuditEvent(
        at,
        request.request_id[:64],
        request.gateway,
        request.policy,
        request.listener,
        request.route,
        request.method[:32],
        redacted(request.path, _MAX_PATH),
        headers.get(CLIENT_ADDRESS_HEADER, "")[:45],
        redacted(headers.get("user-agent", ""), _MAX_AGENT),
        principal.kind,
        pseudonyms.of(principal.subject) if principal.kind is Kind.TOKEN else principal.subject,
        principal.role,
        principal.tier,
        unnamed(principal.tenant, pseudonyms),
        principal.partner,
        principal.agent,
        unnamed(principal.credential_id, pseudonyms),
        _outcome(decision),
        principal.remark if refusal is None else refusal.code,
        200 if decision.refusal is None else decision.refusal.status,
        principal.remark or ("" if refusal is None else refusal.cause),
    )


def unnamed(name: str, pseudonyms: Pseudonyms) -> str:
    """What an issuer calls something else than a person, unless it bears a person's name."""
    return pseudonyms.of(name) if "@" in name else name


def _outcome(decision: Decision) -> str:
    if decision.refusal is not None:
        return "denied"
    return "allowed" if decision.waived is None else "shadowed"


def _line(event: AuditEvent) -> bytes:
    line = orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
    if not line.isascii():
        # Some take U+0085 and U+2028 for the end of a line, and terminals obey C1 controls: escaped, they are none.
        line = json.dumps(orjson.loads(line), separators=(",", ":")).encode() + b"\n"
    return line.replace(b"\x7f", b"\\u007f")


class JsonLinesSink:
    """Events as JSON, one per line, written in batches by `run`. A full queue refuses events.

    What cannot be written stays queued and is tried again: first the queue fills, then events are refused, and
    whoever must not act without a witness stops acting. Nothing is dropped silently.
    """

    def __init__(self, write: Callable[[bytes], object], capacity: int = 65_536, interval: float = 0.05) -> None:
        """`write` takes whole lines and may block (it is called in a thread); `interval` in seconds."""
        self._write = write
        self._capacity = capacity
        self._interval = interval
        self._events: deque[AuditEvent] = deque()
        self._writing = Lock()

    def offer(self, event: AuditEvent) -> bool:
        if len(self._events) >= self._capacity:
            return False
        self._events.append(event)
        return True

    async def run(self) -> None:
        """Writes until cancelled, and then what is left."""
        try:
            while True:
                await asyncio.sleep(self._interval)
                await asyncio.to_thread(self._flush_or_say)
        finally:
            self._flush_or_say()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """`run` beside the body, and for as long as it lasts: enter it before whatever makes events."""
        writing = asyncio.create_task(self.run())
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.wait({writing})

    def _flush_or_say(self) -> None:
        try:
            self.flush()
        except OSError as error:
            _LOG.error("audit_not_written", error=str(error), queued=len(self._events))

    def flush(self) -> None:
        """Writes what is queued. An event leaves the queue only when it has been written. Raises OSError."""
        with self._writing:
            while count := min(len(self._events), _BATCH):
                batch = [self._events[index] for index in range(count)]
                self._write(b"".join(map(_line, batch)))
                for _ in batch:
                    self._events.popleft()
