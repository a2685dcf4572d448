"""A chain of the audit, row by row: what is wrong with each."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from records.audit_chain import ChainEnd, row_hash
from records.audit_entry import StoredEntry
from records.audit_erased import ERASED, METHOD, places_of
from records.audit_pages import UnreadRow


class Flaw(StrEnum):
    """What can be wrong with a chain."""

    EDITED = "edited"
    MISSING = "missing"
    MISLINKED = "mislinked"
    REORDERED = "reordered"
    INSERTED = "inserted"
    TRUNCATED = "truncated"
    CUT = "cut"
    NOT_ANCHORED = "not_anchored"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: at which position of which chain and, where there is one, in which row."""

    gateway: str
    flaw: Flaw
    position: int | None
    row_id: int | None
    event_id: str
    detail: str


class Walk:
    """One chain, row by row in the order of positions. Each step returns what is wrong there."""

    def __init__(
        self,
        gateway: str,
        first_position: int,
        first_prev_hash: str,
        anchors: Mapping[int, str],
        vouched: Collection[ChainEnd] | None = None,
    ) -> None:
        """`anchors`: hashes that rows are known to have had, by position. `vouched`: rows that may say that a person
        was taken out of others; None where every one is believed.
        """
        self.erased = 0
        self._vouched = vouched
        self._unproven: dict[int, tuple[str, StoredEntry]] = {}
        self.rows = 0
        self.last = ChainEnd(gateway, first_position - 1, first_prev_hash)
        self._anchors = anchors
        self._row_id = 0
        self._hash_known = True

    def take(self, row: StoredEntry | UnreadRow) -> Iterator[Finding]:
        """Look at the next row."""
        self.rows += 1
        gateway = self.last.gateway
        position, expected = row.position or 0, self.last.position + 1
        if position < expected:
            yield at_row(gateway, row, Flaw.INSERTED, f"before the chain's first position, {expected}")
            return
        if position > expected:
            yield gap(gateway, expected, position - 1, Flaw.MISSING, "missing")
        read = row if isinstance(row, StoredEntry) else None
        if read is not None and position == expected and self._hash_known and read.prev_hash != self.last.row_hash:
            what = f"does not follow the row at {expected - 1}: one of the two was replaced"
            yield at_row(gateway, row, Flaw.MISLINKED, what)
        if read is None:
            yield at_row(gateway, row, Flaw.EDITED, "it holds what cannot be read, and was never written")
        else:
            yield from self._content(read, position)
        if row.row_id <= self._row_id:
            yield at_row(gateway, row, Flaw.REORDERED, "its id is below that of a row before it")
        digest = None if read is None else read.row_hash
        anchored = self._anchors.get(position)
        if anchored is not None and anchored != digest and read is not None:
            yield at_row(gateway, row, Flaw.NOT_ANCHORED, "not the row that the anchor names")
        self._row_id = max(self._row_id, row.row_id)
        self.last = ChainEnd(gateway, position, digest or "")
        # One that lost its hash is one finding, and not another one at the row after it.
        self._hash_known = digest is not None

    def _content(self, row: StoredEntry, position: int) -> Iterator[Finding]:
        digest = hash_of(row, position)
        if digest == row.row_hash:
            if row.entry.method == METHOD:
                self._erasure(row, position)
        elif digest is not None and row.entry.principal == ERASED:
            # Somebody was taken out of it: a later row says what must be left.
            self._unproven[position] = digest, row
        else:
            yield at_row(self.last.gateway, row, Flaw.EDITED, "its content is not what its hash was made of")

    def _erasure(self, row: StoredEntry, position: int) -> None:
        said = ChainEnd(self.last.gateway, position, row.row_hash or "")
        if self._vouched is not None and said not in self._vouched:
            return
        for place, left in places_of(row.entry):
            if place in self._unproven and self._unproven[place][0] == left:
                del self._unproven[place]
                self.erased += 1

    def finish(self, end: ChainEnd, anchors: Iterable[int]) -> Iterator[Finding]:
        """After the last row: whether more was there once."""
        for _, row in self._unproven.values():
            what = "somebody was taken out of it, and no erasure that may be believed says what was left"
            yield at_row(end.gateway, row, Flaw.EDITED, what)
        latest = max([end.position, *anchors])
        if self.rows == 0 and self.last.position > end.position:
            detail = "the chain is said to begin beyond its own end"
            yield Finding(end.gateway, Flaw.MISLINKED, self.last.position + 1, None, "", detail)
        elif self.last.position < latest:
            detail = "missing at the end" if latest == end.position else "missing at the end, an anchor says"
            yield gap(end.gateway, self.last.position + 1, latest, Flaw.TRUNCATED, detail)
        elif self.last.position == end.position and self.last.row_hash != end.row_hash:
            detail = "the chain's end is said to have another hash than its last row"
            yield Finding(end.gateway, Flaw.MISLINKED, end.position, None, "", detail)


def hash_of(row: StoredEntry, position: int) -> str | None:
    """None where the row holds what can be read and yet never was an entry's."""
    try:
        return row_hash(row.entry, position, row.prev_hash or "")
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None


def at_row(gateway: str, row: StoredEntry | UnreadRow, flaw: Flaw, detail: str) -> Finding:
    """Something that is wrong with a row."""
    event_id = row.entry.event_id if isinstance(row, StoredEntry) else row.event_id
    return Finding(gateway, flaw, row.position, row.row_id, event_id, detail)


def gap(gateway: str, first: int, last: int, flaw: Flaw, detail: str) -> Finding:
    """Something that is wrong with the rows from one position to another."""
    which = f"the row at {first} is" if first == last else f"{last - first + 1} rows, {first} to {last}, are"
    return Finding(gateway, flaw, first, None, "", f"{which} {detail}")
