"""Ends that the audit's chains had, kept where whoever reaches into the database does not reach."""

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from apibank.private_files import write_private
from records.audit_figures import AuditFigures
from records.audit_log import AuditLog, ChainEnd

_LOG: Final = structlog.get_logger(__name__)
ANCHOR_NAME: Final = "anchor.json"
_HASH_DIGITS: Final = 64


class AnchorError(Exception):
    """A file that holds no anchors, or one that is not whole; the text names file and line."""


def anchor_line(end: ChainEnd, at: float) -> str:
    """An anchor as one line of JSON. `at`: seconds since the epoch."""
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return json.dumps({"gateway": end.gateway, "position": end.position, "row_hash": end.row_hash, "at": moment})


def read_anchors(path: Path) -> Sequence[ChainEnd]:
    """The anchors in a file of JSON lines; lines that tell other things are passed over, so that a log will do.

    Raises AnchorError, or OSError.
    """
    anchors: list[ChainEnd] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict) and "row_hash" in fields:
            match fields:
                case {"gateway": str(gateway), "position": int(position), "row_hash": str(digest)} if (
                    position >= 0 and len(digest) == _HASH_DIGITS
                ):
                    anchors.append(ChainEnd(gateway, position, digest))
                case _:
                    raise AnchorError(f"{path}:{number}: an anchor has gateway, position and row_hash (64 hex digits)")
    if not anchors:
        raise AnchorError(f"{path}: there is no anchor in it: `apibank audit anchor` prints them")
    return anchors


def anchors_below(folder: Path) -> Sequence[ChainEnd]:
    """Those that the gateways of this machine keep in `<folder>/<gateway>/<number>/`. Raises AnchorError or OSError."""
    return [anchor for path in sorted(folder.glob(f"*/*/{ANCHOR_NAME}")) for anchor in read_anchors(path)]


class AnchorKeeper:
    """Keeps the end of one gateway's chain in a file, as long as the chain leads over what it kept before."""

    def __init__(self, path: Path, log: AuditLog, figures: AuditFigures, clock: Callable[[], float]) -> None:
        """Raises AnchorError or OSError where the file is there and not to be read."""
        self._path = path
        self._log = log
        self._figures = figures
        self._clock = clock
        self._kept = read_anchors(path)[-1] if path.exists() else None
        self._latest = self._kept

    def note(self, end: ChainEnd) -> None:
        """The chain ends there now."""
        self._latest = end

    async def keep(self) -> None:
        """Keep the end and print it, if it is another. What cannot be asked or written now is tried the next time."""
        kept, latest = self._kept, self._latest
        if latest is None or (kept == latest and not self._figures.broken):
            return
        if kept is not None and not await self._log.holds(kept):
            self._figures.broken = True
            _LOG.error("audit_chain_broken", gateway=kept.gateway, position=kept.position, row_hash=kept.row_hash)
            return
        self._figures.broken = False
        await asyncio.to_thread(write_private, self._path, anchor_line(latest, self._clock()).encode() + b"\n")
        self._kept = latest
        _LOG.info("audit_anchor", gateway=latest.gateway, position=latest.position, row_hash=latest.row_hash)
