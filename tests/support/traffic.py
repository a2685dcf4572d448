"""A steady flow of requests through the doors of central, for as long as something else happens."""

import asyncio
import contextlib
import itertools
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import httpx2

from tests.support.stack import Stack

# One request: with this client, and how many there have been before.
Send = Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]

GOOD = "good"
_LEAD_SECONDS = 0.3


@contextlib.asynccontextmanager
async def flow(
    stack: Stack, send: Send, *, pause: float = 0.02, address: str = "127.0.0.1"
) -> AsyncIterator[Counter[str]]:
    """Send one request after the other, with a pause between them; counts what was answered."""
    answers: Counter[str] = Counter()
    context = ssl.create_default_context(cafile=stack.ca_file)
    stopping = asyncio.Event()

    async def flowing() -> None:
        transport = httpx2.AsyncHTTPTransport(verify=context, local_address=address)
        async with httpx2.AsyncClient(transport=transport, timeout=10) as http:
            for number in itertools.count():
                if stopping.is_set():
                    return
                try:
                    answer = await send(http, number)
                    answers[GOOD if answer.status_code == 200 else f"{answer.status_code} {answer.text}"] += 1
                except httpx2.HTTPError as error:
                    answers[repr(error)] += 1
                await asyncio.sleep(pause)

    task = asyncio.create_task(flowing())
    try:
        await asyncio.sleep(_LEAD_SECONDS)
        yield answers
        await asyncio.sleep(_LEAD_SECONDS)
    finally:
        stopping.set()
        await task


def getting(stack: Stack, path: str, tokens: Sequence[str]) -> Send:
    """GET a path of the public door, with each of the tokens in turn; without any where there are none."""

    async def send(http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        headers = {"authorization": f"Bearer {tokens[number % len(tokens)]}"} if tokens else {}
        return await http.get(stack.ready.central.https + path, headers=headers)

    return send


async def together(stack: Stack, path: str, token: str, count: int) -> Counter[int]:
    """The statuses of so many requests at once."""
    context = ssl.create_default_context(cafile=stack.ca_file)
    limits = httpx2.Limits(max_connections=25)
    async with httpx2.AsyncClient(verify=context, limits=limits, timeout=30) as http:

        async def one() -> int:
            answer = await http.get(stack.ready.central.https + path, headers={"authorization": f"Bearer {token}"})
            return answer.status_code

        return Counter(await asyncio.gather(*(one() for _ in range(count))))
