"""The rate-limit service over HTTP/1.1, as users of envoyproxy/ratelimit ask it by hand: `/json`, `/healthcheck` and
`/rlconfig`.
"""

import time
from collections.abc import Sequence
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ratelimit.limiter import RateLimiter
from ratelimit.listing import listed
from ratelimit.service import RateLimitService
from ratelimit.wire import UnreadableRequestError, answer_as_json, request_of_json
from rpc.service import Failure, Status

_LONGEST: Final = 64 * 1024
_STATUSES: Final = {Status.INVALID_ARGUMENT: 400, Status.UNAVAILABLE: 503}


def calls_app(limiter: RateLimiter) -> ASGIApp:
    """Whoever reaches it can use up anybody's limits."""
    service = RateLimitService(limiter)

    async def decide(request: Request) -> Response:
        text = b""
        async for chunk in request.stream():
            text += chunk
            if len(text) > _LONGEST:
                return PlainTextResponse(f"a request has at most {_LONGEST} bytes\n", 413)
        try:
            answer = await _answer(service, request_of_json(text))
        except UnreadableRequestError as error:
            return PlainTextResponse(f"{error}\n", 400)
        if isinstance(answer, Failure):
            return PlainTextResponse(f"{answer.message}\n", _STATUSES.get(answer.status, 500))
        admitted, document = answer_as_json(answer)
        return Response(document, 200 if admitted else 429, media_type="application/json")

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("OK\n") if await limiter.ready() else PlainTextResponse("not ready\n", 503)

    async def rules(_: Request) -> PlainTextResponse:
        return PlainTextResponse(listed(limiter.domains))

    return Starlette(
        routes=[
            Route("/json", decide, methods=["POST"]),
            Route("/healthcheck", health),
            Route("/rlconfig", rules),
        ]
    )


async def _answer(service: RateLimitService, raw: bytes) -> bytes | Failure:
    begun = service.begin(raw, time.perf_counter())
    if isinstance(begun, Failure):
        return begun
    answers: Sequence[bytes | Failure] = await service.settle([begun])
    return answers[0]
