"""A person's lines in files that processes go on writing: overwritten in their place, with nothing moved."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from apibank.private_files import write_private
from records.audit_spool import SET_ASIDE

_TAKEN: Final = b'{"erased":true}'
_LIST: Final = "erased.jsonl"
_MARKER_BYTES: Final = 16


def files_of(state: Path, audit: Path, samples: Path) -> Iterator[Path]:
    """Where lines may name people: the logs of this machine's processes, kept checks, events no database takes."""
    yield from sorted((state / "logs").glob("*.log*"))
    yield from sorted(samples.glob("*.jsonl"))
    yield from sorted(audit.glob(f"*/*/{SET_ASIDE}"))


def erase_lines(path: Path, words: Sequence[str]) -> int:
    """Overwrite each whole line that has one of the words with one as long that has nothing; how many. Raises OSError.

    No octet moves, so a process that appends to the file, or is reading it, is not disturbed.
    """
    pattern = re.compile(b"|".join(re.escape(word.encode()) for word in words))
    count, at = 0, 0
    with path.open("r+b") as file:
        for line in file:
            if line.endswith(b"\n") and pattern.search(line):
                room = len(line) - 1
                os.pwrite(file.fileno(), (_TAKEN if len(_TAKEN) <= room else b"").ljust(room), at)
                count += 1
            at += len(line)
        if count:
            os.fsync(file.fileno())
    return count


def lines_of(path: Path, words: Sequence[str]) -> Iterator[str]:
    """The lines that have one of the words. Raises OSError."""
    pattern = re.compile(b"|".join(re.escape(word.encode()) for word in words))
    with path.open("rb") as file:
        yield from (line.decode("utf-8", "replace").rstrip("\n") for line in file if pattern.search(line))


class ErasedList:
    """Who was erased, so that a backup from before can be treated again: in marks, of which nobody can make names.

    A mark is a keyed hash of the pseudonym, and stands in no row.
    """

    def __init__(self, audit: Path, key: bytes) -> None:
        self._path, self._key = audit / _LIST, key

    def mark(self, pseudonym: str) -> str:
        """What the list has of a person."""
        text = f"erased:{pseudonym}".encode()
        return hashlib.blake2b(text, key=self._key, digest_size=_MARKER_BYTES).hexdigest()

    def marks(self) -> Mapping[str, bool]:
        """Everybody, and whether the audit was left. Raises OSError or ValueError."""
        if not self._path.exists():
            return {}
        read = map(json.loads, self._path.read_bytes().splitlines())
        return {str(one["mark"]): one["keep_audit"] is True for one in read}

    def add(self, pseudonym: str, at: datetime, *, keep_audit: bool) -> None:
        """Remember one. Raises OSError or ValueError."""
        mark = self.mark(pseudonym)
        if self.marks().get(mark) != keep_audit:
            before = self._path.read_bytes() if self._path.exists() else b""
            said = {"at": at.isoformat(timespec="seconds"), "mark": mark, "keep_audit": keep_audit}
            line = json.dumps(said).encode()
            write_private(self._path, before + line + b"\n")
