"""Is it there, does it answer: the questions that the embedded stack asks its processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_LONGEST_HEAD = 65_536


class UnansweredError(Exception):
    """A component that was asked does not do its work."""


@contextlib.asynccontextmanager
async def connected(target: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to HOST:PORT, [IPV6]:PORT or unix:/PATH, closed at the end. Raises OSError where there is none."""
    if target.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(target.removeprefix("unix:"), limit=_LONGEST_HEAD)
    else:
        host, _, port = target.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), limit=_LONGEST_HEAD)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` without its transfer coding."""

    status: int
    body: bytes


async def ask_http(target: str, path: str, method: str = "GET") -> Answer:
    """One request without a body to HOST:PORT or unix:/PATH, on a connection of its own.

    For processes of ours on this machine: the whole answer is read. Raises OSError where it cannot be had, EOFError
    where it breaks off, and ValueError where it is not HTTP/1.1.
    """
    async with connected(target) as (reader, writer):
        writer.write(
            f"{method} {path} HTTP/1.1\r\nhost: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode()
        )
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status = first.split(maxsplit=2)[:2]
        if not version.startswith("HTTP/1."):
            raise ValueError("the answer is not HTTP/1.1")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(status), await _content(reader, fields))


async def _content(reader: asyncio.StreamReader, fields: Mapping[str, str]) -> bytes:
    """The body, by its own length: Envoy keeps a connection that it will close open for another second."""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        content = b""
        while length := int((await reader.readline()).split(b";")[0], 16):  # RFC 9112 §7.1
            content += await reader.readexactly(length)
            await reader.readline()
        return content
    if "content-length" in fields:
        return await reader.readexactly(int(fields["content-length"]))
    return await reader.read()


async def answers_http(target: str, path: str = "/healthz") -> bool:
    """Whether an HTTP service at HOST:PORT or unix:/PATH answers GET with 2xx."""
    try:
        return 200 <= (await ask_http(target, path)).status < 300
    except (OSError, EOFError, ValueError):
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
