"""Is it there, does it answer: the questions that the embedded stack asks its processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_LONGEST_LINE = 4096


class UnansweredError(Exception):
    """A component that was asked does not do its work."""


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to HOST:PORT, [IPV6]:PORT or unix:/PATH, closed at the end. Raises OSError where there is none."""
    if target.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"), limit=_LONGEST_LINE)
    else:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=_LONGEST_LINE)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def accepts(target: str) -> bool:
    """Whether something accepts connections at HOST:PORT or unix:/PATH."""
    try:
        async with connected(target):
            return True
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` without its transfer coding."""

    status: int
    body: bytes


async def ask_http(target: str, path: str, method: str = "GET") -> Answer:
    """One request without a body to HOST:PORT or unix:/PATH, on a connection of its own.

    For processes of ours on this machine: the whole answer is read. Raises OSError where it cannot be had, and
    ValueError where it is not HTTP/1.1.
    """
    async with connected(target) as (reader, writer):
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        head, _, rest = (await reader.read(-1)).partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    version, status = first.split(maxsplit=2)[:2]
    if not version.startswith(b"HTTP/1."):
        raise ValueError("the answer is not HTTP/1.1")
    chunked = any(field.lower().replace(b" ", b"") == b"transfer-encoding:chunked" for field in fields)
    return Answer(int(status), _unchunked(rest) if chunked else rest)


def _unchunked(body: bytes) -> bytes:
    """The content of a chunked body (RFC 9112 §7.1)."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if length == 0:
            return content
        content += body[:length]
        body = body[length + 2 :]
    raise ValueError("the answer ends in the middle")


async def answers_http(target: str, path: str = "/healthz") -> bool:
    """Whether an HTTP service at HOST:PORT or unix:/PATH answers GET with 2xx."""
    try:
        return 200 <= (await ask_http(target, path)).status < 300
    except (OSError, ValueError):
        return False


async def answers_ping(url: str) -> bool:
    """Whether a Redis or Valkey answers PING: redis://[[USER]:PASSWORD@]HOST:PORT[/DB] or unix:///PATH."""
    parts = urlsplit(url)
    target = f"unix:{parts.path}" if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    try:
        async with connected(target) as (reader, writer):
            if parts.password:
                user = [unquote(parts.username)] if parts.username else []
                writer.write(_command("AUTH", *user, unquote(parts.password)))
                if await reader.readline() != b"+OK\r\n":
                    return False
            writer.write(_command("PING"))
            # While it loads its data it answers -LOADING, which is not yet ready.
            return await reader.readline() == b"+PONG\r\n"
    except (OSError, ValueError):
        return False


def _command(*words: str) -> bytes:
    """A command in RESP: an array of bulk strings."""
    bulk = [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in words]
    return b"*%d\r\n%s" % (len(words), b"".join(bulk))


def required(ask: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[None]]:
    """The same question in the form that health checks take: it raises UnansweredError instead of saying no."""

    async def demand() -> None:
        if not await ask():
            raise UnansweredError

    return demand
