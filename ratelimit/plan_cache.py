"""Plans by the bytes of the request, so that a caller's second request is neither parsed nor matched."""

from ratelimit.limiter import RateLimiter
from ratelimit.matching import Plan
from ratelimit.rules import Rule
from ratelimit.wire import AnswerWriter, read_request

# Larger requests are rare, and would let a caller fill the cache's memory.
_LONGEST = 1024


# Overrides bring rules of their own, without end.
_MOST_WRITERS = 1024


class PlanCache:
    """At least the `size` most recent requests, at most twice as many: two generations, the older dropped whole."""

    def __init__(self, limiter: RateLimiter, size: int = 4096) -> None:
        self._limiter, self._size = limiter, size
        self._generation = limiter.generation
        self._young: dict[bytes, tuple[Plan, AnswerWriter]] = {}
        self._old: dict[bytes, tuple[Plan, AnswerWriter]] = {}
        self._writers: dict[tuple[str | None, tuple[Rule | None, ...]], AnswerWriter] = {}

    def find(self, raw: bytes) -> tuple[Plan, AnswerWriter]:
        """The plan of a request under the rules of this moment. Raises UnreadableRequestError."""
        if self._generation != self._limiter.generation:
            self._young, self._old, self._writers = {}, {}, {}
            self._generation = self._limiter.generation
        found = self._young.get(raw)
        if found is not None:
            return found
        found = self._old.get(raw) or self._made(raw)
        if len(raw) <= _LONGEST:
            if len(self._young) >= self._size:
                self._young, self._old = {}, self._young
            self._young[raw] = found
        return found

    def _made(self, raw: bytes) -> tuple[Plan, AnswerWriter]:
        plan = self._limiter.metrics.named(self._limiter.plan(read_request(raw)))
        # All callers under the same rules are answered in the same form.
        form = plan.domain, plan.rules
        writer = self._writers.get(form)
        if writer is None:
            if len(self._writers) >= _MOST_WRITERS:
                self._writers.clear()
            writer = self._writers[form] = AnswerWriter(plan)
        return plan, writer
