"""Ends that the audit's chains had, kept where whoever reaches into the database does not reach."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from apibank.private_files import write_private
from records.audit_figures import AuditFigures
from records.audit_log import AuditLog, ChainEnd
from records.audit_verify import Anchors

_LOG: Final = structlog.get_logger(__name__)
ANCHOR_NAME: Final = "anchor.json"
_CHECKPOINTS_NAME: Final = "checkpoints.jsonl"
_HASH_DIGITS: Final = 64


class AnchorError(Exception):
    """A file that holds no anchors, or one that is not whole; the text names file and line."""


def anchor_line(end: ChainEnd, at: float, *, is_checkpoint: bool = False, is_erasure: bool = False) -> str:
    """An anchor as one line of JSON. `at`: seconds since the epoch.

    A checkpoint says that all up to it was removed; an erasure, that this row may say who was taken out of others.
    """
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    anchor = {"gateway": end.gateway, "position": end.position, "row_hash": end.row_hash, "at": moment}
    kind = {"checkpoint": True} if is_checkpoint else {"erasure": True} if is_erasure else {}
    return json.dumps(anchor | kind)


def read_anchors(path: Path) -> Anchors:
    """The anchors in a file of JSON lines; lines that tell other things are passed over, so that a log will do.

    Raises AnchorError, or OSError.
    """
    ends: list[ChainEnd] = []
    checkpoints: list[ChainEnd] = []
    erasures: list[ChainEnd] = []
    # Others take more than this for the end of a line, and would find one where a client has written it.
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(fields, dict) and "row_hash" in fields:
            match fields:
                case {"gateway": str(gateway), "position": int(position), "row_hash": str(digest)} if (
                    position >= 0 and not isinstance(position, bool) and len(digest) == _HASH_DIGITS
                ):
                    is_checkpoint, is_erasure = fields.get("checkpoint") is True, fields.get("erasure") is True
                    kind = checkpoints if is_checkpoint else erasures if is_erasure else ends
                    kind.append(ChainEnd(gateway, position, digest))
                case _:
                    raise AnchorError(f"{path}:{number}: an anchor has gateway, position and row_hash (64 hex digits)")
    if not ends and not checkpoints and not erasures:
        raise AnchorError(f"{path}: there is no anchor in it: `apibank audit anchor` prints them")
    return Anchors(tuple(ends), tuple(checkpoints), tuple(erasures))


def anchors_below(folder: Path) -> Anchors:
    """Those that gateways keep in `<folder>/<gateway>/<number>/`, and the checkpoints of what was removed from here.

    Raises AnchorError or OSError.
    """
    paths = [*folder.glob(f"*/*/{ANCHOR_NAME}"), *folder.glob(f"*/{_CHECKPOINTS_NAME}")]
    return sum((read_anchors(path) for path in sorted(paths)), Anchors())


def keep_checkpoint(folder: Path, line: str, gateway: str) -> Path | None:
    """Add a checkpoint or an erasure to those of this machine; None where it keeps no audit. Raises OSError."""
    if not (folder / gateway).is_dir():
        return None
    path = folder / gateway / _CHECKPOINTS_NAME
    before = path.read_bytes() if path.exists() else b""
    write_private(path, before + line.encode() + b"\n")
    return path


class AnchorKeeper:
    """Keeps the end of one gateway's chain in a file, as long as the chain leads over what it kept before."""

    def __init__(self, path: Path, log: AuditLog, figures: AuditFigures, clock: Callable[[], float]) -> None:
        """Raises AnchorError or OSError where the file is there and not to be read."""
        self._path = path
        self._log = log
        self._figures = figures
        self._clock = clock
        self._kept = read_anchors(path).ends[-1] if path.exists() else None
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
