"""The lines of a spool's files: one record each, with a checksum, so that what was not written whole is seen."""

import zlib
from dataclasses import dataclass
from typing import Final

_SUM: Final = 9


@dataclass(frozen=True, slots=True)
class Lines:
    """What was read: whole records, how many octets they and what is between them take, and what was none.

    `torn`: the last line of a file is not whole, as a process leaves it that ended while it wrote. `damaged`: lines
    that are not what was written, at any other place.
    """

    records: tuple[bytes, ...]
    size: int
    torn: int
    damaged: int


def encode_line(record: bytes) -> bytes:
    """A record as a line. It holds no line end: JSON has none."""
    return b"%08x %b\n" % (zlib.crc32(record), record)


def decode_lines(octets: bytes, limit: int, *, is_all: bool) -> Lines:
    """At most `limit` records. `is_all`: nothing comes after these octets, and so what is left of a line is torn."""
    records: list[bytes] = []
    size = torn = damaged = 0
    while len(records) < limit and size < len(octets):
        end = octets.find(b"\n", size) + 1
        if not end:
            if is_all:
                torn, size = 1, len(octets)
            break
        line = octets[size : end - 1]
        size = end
        record = line[_SUM:]
        if line[:_SUM] == b"%08x " % zlib.crc32(record):
            records.append(record)
        elif is_all and size == len(octets):
            torn = 1
        else:
            damaged += 1
    return Lines(tuple(records), size, torn, damaged)
