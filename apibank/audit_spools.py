"""What of the audit lies on this machine's disk and is in no chain: what `audit verify` cannot see in the database."""

from collections.abc import Iterator
from pathlib import Path

from apibank.output import Row
from records.audit_spool import DAMAGED, SET_ASIDE, WAITING


def spools_below(folder: Path, gateway: str | None) -> Iterator[Row]:
    """Each process's folder in which something lies: bytes that wait, damaged files, and events set aside.

    A folder that cannot be read is passed over: it belongs to somebody else, and so do its events.
    """
    for place in sorted(folder.glob(f"{gateway or '*'}/*")):
        try:
            if not place.is_dir():
                continue
            aside = place / SET_ASIDE
            row: Row = {
                "gateway": place.parent.name,
                "folder": str(place),
                "waiting_bytes": sum(path.stat().st_size for path in place.glob(f"*{WAITING}")),
                "damaged_files": sum(1 for _ in place.glob(f"*{DAMAGED}")),
                "set_aside": aside.read_bytes().count(b"\n") if aside.exists() else 0,
            }
        except OSError:
            continue
        if row["waiting_bytes"] or row["damaged_files"] or row["set_aside"]:
            yield row


def spool_line(row: Row) -> str:
    """One folder, in a line."""
    found = (
        (row["waiting_bytes"], "bytes wait for the database"),
        (row["damaged_files"], "damaged files"),
        (row["set_aside"], "events set aside"),
    )
    said = ", ".join(f"{count} {what}" for count, what in found if count)
    return f"{row['gateway']}: in no chain: {said}; see {row['folder']}"
