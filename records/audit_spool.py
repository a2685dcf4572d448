"""Where audited events wait for the database: files that survive the process, and a bound on them.

A spool is a folder that one process holds. Records are appended to numbered files and are on disk when `append`
returns; a file is removed when all of it has been stored elsewhere. What was read and not yet said to be stored is
read again after a restart: whoever stores it must know it again.
"""

import fcntl
import os
import re
import stat
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Final, Self

from records.audit_segment import decode_lines, encode_line

MAX_BYTES: Final = 64 * 1024 * 1024
_SEGMENT_BYTES: Final = 1024 * 1024
# No record is nearly as long; a file in which there is none within so much is damaged.
_READ_BYTES: Final = 512 * 1024
WAITING: Final = ".spool"
DAMAGED: Final = ".damaged"
SET_ASIDE: Final = "refused.jsonl"
_SLOTS: Final = 64
_NUMBERED: Final = re.compile(r"[0-9]{1,18}")


class SpoolFullError(Exception):
    """There is no room: what is in the spool must be stored first."""


@dataclass(slots=True)
class _Segment:
    """One file. `size`: what of it is whole and on disk; `sent`: what of it has been stored elsewhere."""

    path: Path
    size: int
    since: deque[tuple[int, float]]
    was_found: bool = False
    sent: int = 0
    is_damaged: bool = False


@dataclass(frozen=True, slots=True)
class SpoolBatch:
    """Records in their order, and how far into which file they go."""

    records: tuple[bytes, ...]
    torn: int
    damaged: int
    path: Path
    end: int


class Spool:
    """One process's folder of records. `append` may run beside `read` and `stored`, each in one thread at a time."""

    def __init__(
        self, folder: Path, lock: IO[bytes], max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.time
    ) -> None:
        """Use `claim`. `clock`: seconds since the epoch."""
        self.folder = folder
        self._lock_file = lock
        self._max_bytes = max_bytes
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // 4)
        self._clock = clock
        self._guard = Lock()
        self._file: IO[bytes] | None = None
        numbered = _numbered(folder)
        self._segments = deque(_found(path) for _, path in numbered if _is_file(path))
        self._next = numbered[-1][0] + 1 if numbered else 1

    @classmethod
    def claim(cls, root: Path, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.time) -> Self:
        """Take the first folder below `root` that no running process holds, and what ended ones left in others.

        OSError where that cannot be.
        """
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_writers(root)
        own: tuple[Path, IO[bytes]] | None = None
        for number in range(1, _SLOTS + 1):
            folder = root / str(number)
            if own is not None and not folder.exists():
                continue
            lock = _try_lock(folder)
            if lock is None:
                continue
            if own is None:
                own = folder, lock
                continue
            with lock:
                _adopt(own[0], folder)
        if own is None:
            raise OSError(f"all of {_SLOTS} folders in {root} are held by running processes")
        return cls(*own, max_bytes, clock)

    @property
    def bytes_on_disk(self) -> int:
        """The files' octets, those that were stored but share a file with others included."""
        with self._guard:
            return sum(one.size for one in self._segments)

    @property
    def room(self) -> float:
        """The share of the spool that is free, from 0 to 1."""
        return max(0.0, 1 - self.bytes_on_disk / self._max_bytes)

    @property
    def oldest_since(self) -> float | None:
        """Since when the oldest record waits to be stored, in seconds since the epoch; None where none waits."""
        with self._guard:
            return next((one.since[0][1] for one in self._segments if one.since), None)

    def append(self, records: Sequence[bytes]) -> None:
        """Keep records: all of them are on disk on return, or none is kept and it raises SpoolFullError or OSError."""
        octets = b"".join(map(encode_line, records))
        if self.bytes_on_disk + len(octets) > self._max_bytes:
            raise SpoolFullError(f"the spool holds {self.bytes_on_disk} of {self._max_bytes} bytes")
        file, segment = self._open()
        try:
            _write(file.fileno(), octets, segment.size)
        except OSError:
            # As a rule the disk is full, and the file is good: what was written of the records is taken back.
            os.ftruncate(file.fileno(), segment.size)
            raise
        try:
            os.fsync(file.fileno())
        except OSError:
            # What the disk has of the file now is unknown (fsync(2)), so nothing is appended to it again.
            self._abandon(file, segment)
            raise
        with self._guard:
            segment.size += len(octets)
            segment.since.append((segment.size, self._clock()))
        if segment.size >= self._segment_bytes:
            self._file = None
            file.close()

    def _abandon(self, file: IO[bytes], segment: _Segment) -> None:
        with suppress(OSError):
            os.ftruncate(file.fileno(), segment.size)
        with self._guard:
            self._file = None
            if segment.size == 0:
                self._segments.remove(segment)
                segment.path.unlink(missing_ok=True)
        with suppress(OSError):
            file.close()

    def _open(self) -> tuple[IO[bytes], _Segment]:
        if self._file is not None:
            # In a file whose name somebody removed, records would be lost.
            if os.fstat(self._file.fileno()).st_nlink:
                return self._file, self._segments[-1]
            self._file.close()
        path = self.folder / f"{self._next:012d}{WAITING}"
        file = open(path, "xb", buffering=0, opener=_private)  # noqa: SIM115 closed when full, or in close()
        try:
            _sync_folder(self.folder)
        except OSError:
            file.close()
            path.unlink(missing_ok=True)
            raise
        self._next += 1
        segment = _Segment(path, 0, deque())
        with self._guard:
            self._segments.append(segment)
            self._file = file
        return file, segment

    def read(self, limit: int) -> SpoolBatch | None:
        """The oldest records that wait, at most `limit`; None where none waits. Asked again, it gives them again."""
        with self._guard:
            segment = next((one for one in self._segments if one.sent < one.size), None)
            if segment is None:
                return None
            start, size = segment.sent, segment.size
        octets = _octets(segment.path, start, min(size - start, _READ_BYTES))
        is_all = start + len(octets) >= size
        # A line that is longer than any record is: its end is looked for no further.
        lines = decode_lines(octets, limit, is_all=is_all or b"\n" not in octets)
        torn, damaged = (lines.torn, lines.damaged) if segment.was_found else (0, lines.torn + lines.damaged)
        end = start + lines.size
        if not octets:
            # The file is gone, or shorter than it was: there is nothing more to be had from it.
            damaged, end = 1, size
        segment.is_damaged = segment.is_damaged or torn + damaged > 0
        return SpoolBatch(lines.records, torn, damaged, segment.path, end)

    def stored(self, batch: SpoolBatch) -> None:
        """The batch is safe elsewhere, and need not be kept. Files that held damaged lines are kept by another name."""
        with self._guard:
            for segment in self._segments:
                if segment.path == batch.path:
                    segment.sent = max(segment.sent, batch.end)
                    while segment.since and segment.since[0][0] <= segment.sent:
                        segment.since.popleft()
        self._remove_done()

    def _remove_done(self) -> None:
        done: list[_Segment] = []
        with self._guard:
            while self._segments and self._is_done(self._segments[0]):
                done.append(self._segments.popleft())
        for segment in done:
            with suppress(FileNotFoundError):
                if segment.is_damaged:
                    segment.path.rename(segment.path.with_suffix(DAMAGED))
                else:
                    segment.path.unlink()

    def _is_done(self, segment: _Segment) -> bool:
        return segment.sent >= segment.size and not (self._file is not None and segment is self._segments[-1])

    def set_aside(self, record: bytes) -> None:
        """Keep a record that the database will never take, for people to look at. Raises OSError."""
        with open(self.folder / SET_ASIDE, "ab", opener=_private) as file:
            file.write(record + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Let the folder go; what waits stays in it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._remove_done()
        self._lock_file.close()


def _found(path: Path) -> _Segment:
    state = path.stat()
    since = deque([(state.st_size, state.st_mtime)] if state.st_size else [])
    return _Segment(path, state.st_size, since, was_found=True)


def _write(descriptor: int, octets: bytes, offset: int) -> None:
    # A disk that fills up takes a part of them first (write(2)).
    while octets:
        written = os.pwrite(descriptor, octets, offset)
        octets, offset = octets[written:], offset + written


def _octets(path: Path, start: int, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)
    except FileNotFoundError:
        return b""


def _private(path: str, flags: int) -> int:
    # Whoever left a link here would choose what is written to.
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Everything that bears the name of a file of ours, by its number."""
    return sorted((int(path.stem), path) for path in folder.glob(f"*{WAITING}") if _NUMBERED.fullmatch(path.stem))


def _is_file(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _check_writers(folder: Path) -> None:
    if folder.stat().st_mode & stat.S_IWOTH:
        raise OSError(f"anybody may write to {folder}, and so to the audit: chmod o-w it")


def _try_lock(folder: Path) -> IO[bytes] | None:
    folder.mkdir(mode=0o700, exist_ok=True)
    _check_writers(folder)
    lock = open(folder / "lock", "ab", opener=_private)  # noqa: SIM115 held as long as the spool
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _adopt(own: Path, other: Path) -> None:
    """Take over the files of a process that is no more."""
    first = max((number for number, _ in _numbered(own)), default=0) + 1
    left = [path for _, path in _numbered(other) if _is_file(path)]
    for number, path in enumerate(left, start=first):
        path.rename(own / f"{number:012d}{WAITING}")
    _sync_folder(own)


def _sync_folder(folder: Path) -> None:
    # A file whose name is not on disk is lost with everything in it.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
