"""From the bytes of questions to the bytes of answers, many at a time, whichever server they came by."""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import structlog

from ratelimit.limiter import RateLimiter
from ratelimit.matching import Plan
from ratelimit.plan_cache import PlanCache
from ratelimit.store import Outcome
from ratelimit.wire import AnswerWriter, UnreadableRequestError

_LOG: Final = structlog.get_logger(__name__)


class Status(IntEnum):
    """The gRPC status codes that a call can end with here (google.rpc.Code)."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    INTERNAL = 13
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that ends without an answer. Envoy's filter makes a 503 of it, as nobody could decide."""

    status: Status
    message: str


_UNCOUNTED: Final = Failure(Status.UNAVAILABLE, "the counters cannot be reached")
_BROKEN: Final = Failure(Status.INTERNAL, "the limits could not be decided")


class RateLimitService:
    """ShouldRateLimit on serialised messages. Requests are recognised by their bytes (plan_cache)."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter, self._metrics = limiter, limiter.metrics
        self._plans = PlanCache(limiter)

    async def answer_many(self, requests: Sequence[bytes]) -> list[bytes | Failure]:
        """A serialised RateLimitResponse, or why there is none, for each serialised RateLimitRequest."""
        start = time.perf_counter()
        found = [self._find(raw) for raw in requests]
        planned = [each for each in found if not isinstance(each, Failure)]
        try:
            outcomes = iter(await self._limiter.decide_many([plan for plan, _ in planned]) if planned else ())
            answers = [each if isinstance(each, Failure) else self._written(each[1], next(outcomes)) for each in found]
        except Exception as error:  # noqa: BLE001 whatever it was, no request may pass by it
            self._report(error, len(planned))
            answers = [each if isinstance(each, Failure) else _BROKEN for each in found]
        self._metrics.took(time.perf_counter() - start, len(requests))
        return answers

    def _find(self, raw: bytes) -> tuple[Plan, AnswerWriter] | Failure:
        try:
            return self._plans.find(raw)
        except UnreadableRequestError as error:
            self._metrics.invalid()
            return Failure(Status.INVALID_ARGUMENT, str(error))
        except Exception as error:  # noqa: BLE001 one request that cannot be understood is no other's affair
            self._report(error, 1)
            return _BROKEN

    def _written(self, writer: AnswerWriter, outcome: Outcome | object) -> bytes | Failure:
        return writer.write(outcome) if isinstance(outcome, Outcome) else _UNCOUNTED

    def _report(self, error: Exception, requests: int) -> None:
        self._metrics.failed(requests)
        # Its type and place, not its text, which may hold a descriptor.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("limit_failed", error=type(error).__name__, file=place.filename, line=place.lineno)
