"""Between the Envoys that tell and the database that keeps: bounded, and never waited for."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from policy.descriptors import CALLER_SUBJECT
from telemetry.access_log.metrics import AccessLogMetrics
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import Figures, UsageCounter, UsageKey
from telemetry.access_log.window import Window

Keep = Callable[[Sequence[AccessRecord], Mapping[UsageKey, Figures]], Awaitable[int]]

_CAPACITY: Final = 50_000
_MOST_ID, _MOST_PATH, _MOST_AGENT = 128, 512, 256


class AccessLogCollector:
    """The port `telemetry.access_log.server.Collector`. People are named by `pseudonym` from here on.

    `redacted`: of what clients write as they like, the beginning of that length, without what could be a credential.

    Requests beyond `capacity` that wait for the database are counted in usage, and not logged one by one.
    """

    def __init__(
        self,
        metrics: AccessLogMetrics,
        window: Window,
        pseudonym: Callable[[str], str],
        redacted: Callable[[str, int], str],
        capacity: int = _CAPACITY,
    ) -> None:
        self._redacted = redacted
        self._metrics, self._window, self._pseudonym, self._capacity = metrics, window, pseudonym, capacity
        self._usage = UsageCounter()
        self._waiting: list[AccessRecord] = []

    def take(self, records: Iterable[AccessRecord]) -> None:
        for told in records:
            record = self._named(told)
            self._metrics.count(record)
            self._window.count(record)
            self._usage.count((record,))
            if len(self._waiting) < self._capacity:
                self._waiting.append(record)
            else:
                self._metrics.dropped.inc()
        self._metrics.waiting.set(len(self._waiting))

    def unreadable(self) -> None:
        self._metrics.unreadable.inc()

    async def flush(self, keep: Keep) -> None:
        """Hand over what has come since the last time. What `keep` raises is raised, and nothing is lost by it.

        `keep` says how many rows it will never take: those are dropped.
        """
        records, self._waiting = self._waiting, []
        figures = self._usage.take()
        if not figures:
            return
        try:
            self._metrics.dropped.inc(await keep(records, figures))
        except BaseException:
            self._metrics.not_kept.inc()
            self._usage.put_back(figures)
            room = max(self._capacity - len(self._waiting), 0)
            self._metrics.dropped.inc(max(len(records) - room, 0))
            self._waiting = records[:room] + self._waiting
            raise
        finally:
            self._metrics.waiting.set(len(self._waiting))

    def _named(self, record: AccessRecord) -> AccessRecord:
        caller = record.caller
        if caller.startswith(CALLER_SUBJECT):
            caller = CALLER_SUBJECT + self._pseudonym(caller.removeprefix(CALLER_SUBJECT))
        return replace(
            record,
            caller=caller,
            subject=self._pseudonym(record.subject),
            request_id=self._redacted(record.request_id, _MOST_ID),
            path=self._redacted(record.path, _MOST_PATH),
            user_agent=self._redacted(record.user_agent, _MOST_AGENT),
        )
