"""Kept checks on disk: the latest of one gateway's process, in two files of which the older is given up whole."""

import asyncio
import contextlib
import os
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter

from authz.audit import Pseudonyms
from authz.decision import Decision
from authz.request import Request
from authz.rules import Rules
from authz.samples import Sample, sample_of

_LOG: Final = structlog.get_logger(__name__)
_SECONDS: Final = 1.0
_QUEUED: Final = 1024


class SampleSpool:
    """Takes a share of the checks (the port `authz.samples.Sampler`) and keeps the latest; `run` writes them."""

    def __init__(
        self,
        folder: Path,
        gateway: str,
        pseudonyms: Pseudonyms,
        registry: CollectorRegistry,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`folder`: shared by the gateways of a machine. `chance`: from 0 to below 1."""
        self._folder = folder
        self._gateway = gateway
        self._pseudonyms = pseudonyms
        self._chance = chance
        self._queue: deque[Sample] = deque()
        self._keep = 0
        self._written: int | None = None
        counter = Counter(
            "apibank_authz_samples_total",
            "Checks chosen to be kept for replay; dropped: without room, or not without a credential.",
            ("gateway", "outcome"),
            registry=registry,
        )
        self._kept, self._dropped = counter.labels(gateway, "kept"), counter.labels(gateway, "dropped")

    def take(self, request: Request, decision: Decision, rules: Rules, at: float) -> None:
        """Keep the check, perhaps. Never raises, and never waits."""
        replay = rules.replay
        if replay is None or self._chance() >= replay.sample:
            return
        self._keep = replay.keep
        sample = None
        with contextlib.suppress(Exception):
            # What cannot be kept is no reason to refuse anybody.
            sample = sample_of(request, decision, rules, at, self._pseudonyms)
        if sample is None or len(self._queue) >= _QUEUED:
            self._dropped.inc()
        else:
            self._queue.append(sample)

    async def run(self, stop: asyncio.Event) -> None:
        """Write until stopped, and then what is left."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _SECONDS)
            if self._queue:
                await asyncio.to_thread(self._flush_or_say)

    def flush(self) -> None:
        """Write what is queued. Raises OSError."""
        latest, older = _files(self._folder, self._gateway)
        while self._queue:
            if self._written is None:
                self._written = sum(1 for _ in _lines(latest))
            if self._written >= max(1, self._keep // 2):
                latest.replace(older)
                self._written = 0
            batch = [self._queue[index] for index in range(min(len(self._queue), self._keep // 2 - self._written))]
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(latest, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(b"".join(one.line() for one in batch))
            for _ in batch:
                self._queue.popleft()
            self._written += len(batch)
            self._kept.inc(len(batch))

    def _flush_or_say(self) -> None:
        try:
            self.flush()
        except OSError as error:
            self._dropped.inc(len(self._queue))
            self._queue.clear()
            _LOG.warning("samples_not_written", gateway=self._gateway, error=error.strerror)


def kept_samples(folder: Path, gateway: str) -> Iterator[Sample]:
    """What is kept of a gateway, the oldest first; a line that was cut short is passed over."""
    latest, older = _files(folder, gateway)
    for path in (older, latest):
        for line in _lines(path):
            with contextlib.suppress(ValueError):
                yield Sample.of_line(line)


def _files(folder: Path, gateway: str) -> tuple[Path, Path]:
    return folder / f"{gateway}.jsonl", folder / f"{gateway}.older.jsonl"


def _lines(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        yield from file
