"""Events on their way to the disk: whoever must not go on without a record waits here until it is there.

All that come while the disk is busy are written together, so that each waits for two writes at most.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import orjson
import structlog

from records.audit_entry import AuditEntry, storable
from records.audit_figures import AuditFigures, Lost
from records.audit_spool import Spool, SpoolFullError

_LOG: Final = structlog.get_logger(__name__)
_GROUP: Final = 256
# What waits for the disk at one moment; it is in memory.
_CAPACITY: Final = 1024
# Of both, the memory and the spool, refusals take no more than the rest: anybody can be refused as often as they like,
# and must not keep out by that who may pass.
_KEPT_FREE: Final = 0.25
_REFUSED: Final = "denied"


@dataclass(frozen=True, slots=True)
class _Waiting:
    record: bytes
    answer: "asyncio.Future[bool]"


class AuditJournal:
    """Takes entries in order, and says of each when it is on disk. `spool` may come later, and until then nothing is.

    `run` writes; use it from one event loop.
    """

    def __init__(
        self, figures: AuditFigures, *, wait_seconds: float, on_kept: Callable[[], object] = lambda: None
    ) -> None:
        """`wait_seconds`: the longest that an answer takes. `on_kept` is called when there is more in the spool."""
        self.spool: Spool | None = None
        self._figures = figures
        self._wait_seconds = wait_seconds
        self._on_kept = on_kept
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._is_closed = False
        # Its own, so that nobody else's slow disk or terminal holds it up.
        self._thread = ThreadPoolExecutor(1, "audit-spool")

    def record(self, entry: AuditEntry) -> "asyncio.Future[bool]":
        """Take an entry; the answer says whether it is on disk. Where it is False, the entry may still get there."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        why = self._no_room(entry.outcome == _REFUSED)
        if why is not None:
            self._refuse(answer, why)
            return answer
        timer = loop.call_later(self._wait_seconds, self._refuse, answer, Lost.SLOW)
        answer.add_done_callback(lambda _: timer.cancel())
        self._waiting.append(_Waiting(orjson.dumps(storable(entry)), answer))
        self._wake.set()
        return answer

    def _no_room(self, is_refusal: bool) -> Lost | None:
        kept_free = _KEPT_FREE if is_refusal else 0.0
        if len(self._waiting) >= _CAPACITY * (1 - kept_free):
            return Lost.BUSY
        if self.spool is None or self._is_closed:
            return Lost.NO_SPOOL
        return Lost.SPOOL_FULL if is_refusal and self.spool.room <= kept_free else None

    def _refuse(self, answer: "asyncio.Future[bool]", why: Lost) -> None:
        if not answer.done():
            self._figures.lost[why] += 1
            answer.set_result(False)

    async def run(self) -> None:
        """Write until closed, and then what still waits."""
        while True:
            self._wake.clear()
            while group := self._next_group():
                await self._write(group)
            if self._is_closed:
                break
            await self._wake.wait()
        self._thread.shutdown()

    def close(self) -> None:
        """Take no more; `run` ends when what has been taken is written."""
        self._is_closed = True
        self._wake.set()

    def _next_group(self) -> list[_Waiting]:
        """Those that come first. Who has been told that there is no record gets none; who went away still does."""
        group: list[_Waiting] = []
        while self._waiting and len(group) < _GROUP:
            one = self._waiting.popleft()
            if one.answer.cancelled() or not one.answer.done():
                group.append(one)
        return group

    async def _write(self, group: list[_Waiting]) -> None:
        why = await asyncio.get_running_loop().run_in_executor(self._thread, self._append, group)
        if why is None:
            self._figures.kept += len(group)
            self._on_kept()
        for one in group:
            if why is not None:
                self._refuse(one.answer, why)
            elif not one.answer.done():
                one.answer.set_result(True)

    def _append(self, group: list[_Waiting]) -> Lost | None:
        spool = self.spool
        if spool is None:
            return Lost.NO_SPOOL
        try:
            spool.append([one.record for one in group])
        except SpoolFullError:
            return Lost.SPOOL_FULL
        except OSError as error:
            _LOG.error("audit_not_kept", error=str(error), folder=str(spool.folder))
            return Lost.DISK
        return None
