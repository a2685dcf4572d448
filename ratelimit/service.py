"""From the bytes of questions to the bytes of answers, many at a time, whichever server they came by."""

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from ratelimit.limiter import RateLimiter
from ratelimit.matching import Plan
from ratelimit.plan_cache import PlanCache
from ratelimit.store import Outcome
from ratelimit.wire import AnswerWriter, UnreadableRequestError
from rpc.service import Failure, Status

_LOG: Final = structlog.get_logger(__name__)


_UNCOUNTED: Final = Failure(Status.UNAVAILABLE, "the counters cannot be reached")
_BROKEN: Final = Failure(Status.INTERNAL, "the limits could not be decided")


@dataclass(slots=True, eq=False)
class Charged:
    """A question whose limits are known and still to be charged. `started`: when it came, as `time.perf_counter` says.

    `given_up`: nobody waits for the answer any more. It is charged nonetheless: it was asked. `request_id`: of the
    request that is asked about, empty where nobody said it.
    """

    plan: Plan
    writer: AnswerWriter
    started: float
    given_up: bool = False
    request_id: bytes = b""

    def tell(self, request_id: bytes) -> None:
        self.request_id = request_id

    @property
    def awaited(self) -> None:
        """All wait for the store, and are charged in one step of it."""
        return None


class RateLimitService:
    """ShouldRateLimit on serialised messages. Requests are recognised by their bytes (plan_cache)."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter, self._metrics = limiter, limiter.metrics
        self._plans = PlanCache(limiter)

    def begin(self, raw: bytes, started: float) -> Failure | Charged:
        """What to charge for a serialised RateLimitRequest, or why it cannot be answered."""
        try:
            return Charged(*self._plans.find(raw), started)
        except UnreadableRequestError as error:
            self._metrics.invalid()
            failure = Failure(Status.INVALID_ARGUMENT, str(error))
        except Exception as error:  # noqa: BLE001 one request that cannot be understood is no other's affair
            self._report(error, 1)
            failure = _BROKEN
        self._metrics.took(time.perf_counter() - started, 1)
        return failure

    async def settle(self, charged: Sequence[Charged]) -> list[bytes | Failure]:
        """A serialised RateLimitResponse, or why there is none, for each of the questions."""
        try:
            outcomes = await self._limiter.decide_many([each.plan for each in charged])
            rests = [
                each.plan.rest(one)
                for each, one in zip(charged, outcomes, strict=True)
                if each.plan.overrun and isinstance(one, Outcome)
            ]
            if any(rests):
                await self._limiter.decide_many([rest for rest in rests if rest is not None])
            answers = [self._written(each, one) for each, one in zip(charged, outcomes, strict=True)]
        except Exception as error:  # noqa: BLE001 whatever it was, no request may pass by it
            self._report(error, len(charged))
            answers = [_BROKEN] * len(charged)
        # They came together, or nearly so.
        self._metrics.took(time.perf_counter() - charged[0].started, len(charged))
        return answers

    def _written(self, charged: Charged, outcome: Outcome | object) -> bytes | Failure:
        return charged.writer.write(outcome, charged.request_id) if isinstance(outcome, Outcome) else _UNCOUNTED

    def _report(self, error: Exception, requests: int) -> None:
        self._metrics.failed(requests)
        # Its type and place, not its text, which may hold a descriptor.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("limit_failed", error=type(error).__name__, file=place.filename, line=place.lineno)
