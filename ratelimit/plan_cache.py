"""Plans by what was asked, so that a caller's second request is neither parsed nor matched."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from ratelimit.limiter import RateLimiter
from ratelimit.matching import Plan
from ratelimit.rules import Rule
from ratelimit.wire import AnswerWriter, read_request

AskedT = TypeVar("AskedT")
WriterT = TypeVar("WriterT")

# What is longer is rare, and would let a caller fill the memory.
_LONGEST: Final = 1024
# Overrides bring rules of their own, without end.
_MOST_WRITERS: Final = 1024


class PlanMemory(Generic[AskedT, WriterT]):
    """At least the `size` most recent questions, at most twice as many: two generations, the older dropped whole."""

    def __init__(
        self,
        limiter: RateLimiter,
        size: int,
        *,
        plan: Callable[[AskedT], Plan],
        writer: Callable[[Plan], WriterT],
        length: Callable[[AskedT], int],
    ) -> None:
        """`plan`: of a question; `writer`: of the answers by a plan's rules; `length`: what is kept of a question."""
        self._limiter, self._size = limiter, size
        self._plan, self._writer, self._length = plan, writer, length
        self._generation = limiter.generation
        self._young: dict[AskedT, tuple[Plan, WriterT]] = {}
        self._old: dict[AskedT, tuple[Plan, WriterT]] = {}
        self._writers: dict[tuple[str | None, tuple[Rule | None, ...]], WriterT] = {}

    def find(self, asked: AskedT) -> tuple[Plan, WriterT]:
        """The plan under the rules of this moment, and what writes its answers. Raises what `plan` raises."""
        if self._generation != self._limiter.generation:
            self._young, self._old, self._writers = {}, {}, {}
            self._generation = self._limiter.generation
        found = self._young.get(asked)
        if found is not None:
            return found
        found = self._old.get(asked) or self._made(asked)
        if self._length(asked) <= _LONGEST:
            if len(self._young) >= self._size:
                self._young, self._old = {}, self._young
            self._young[asked] = found
        return found

    def _made(self, asked: AskedT) -> tuple[Plan, WriterT]:
        plan = self._plan(asked)
        # All callers under the same rules are answered in the same form.
        form = plan.domain, plan.rules
        writer = self._writers.get(form)
        if writer is None:
            if len(self._writers) >= _MOST_WRITERS:
                self._writers.clear()
            writer = self._writers[form] = self._writer(plan)
        return plan, writer


class PlanCache(PlanMemory[bytes, AnswerWriter]):
    """Questions by their bytes. `find` raises UnreadableRequestError."""

    def __init__(self, limiter: RateLimiter, size: int = 4096) -> None:
        super().__init__(
            limiter,
            size,
            plan=lambda raw: limiter.metrics.named(limiter.plan(read_request(raw))),
            writer=AnswerWriter,
            length=len,
        )
