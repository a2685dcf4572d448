"""Everything of a state directory that must survive its machine, in a folder: taken while all of it runs."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from apibank.private_files import private_directory, write_private
from records.errors import CopyError
from records.sqlite_copy import copy_sqlite

MANIFEST: Final = "manifest.json"
_DATABASES: Final = ("apibank.db", "telemetry.db")
# What was made once and cannot be made again: authorities and keys, secrets, and all of the audit's folder, with what
# waits there for the database. What is not here is written anew (addresses, bootstraps) or is only looked at (logs).
_KEPT: Final = ("tls", "secrets", "issuer", "audit", "control.token")
_LOCK: Final = "lock"
_READ: Final = 1 << 20


class BackupError(Exception):
    """What cannot be backed up or restored; the text says why."""


def back_up(state: Path, to: Path, now: datetime) -> Mapping[str, str]:
    """Copy a state directory's things, and its SQLite files, to a new folder; the digest of each. Raises OSError.

    Events of the audit that wait are copied before the database: each is in one of the two, or in both, which is one
    row.
    """
    if to.exists():
        raise BackupError(f"{to} is there already: a backup is a new folder")
    if not any((state / name).exists() for name in (*_DATABASES, *_KEPT)):
        raise BackupError(f"there is nothing in {state} to back up")
    private_directory(to)
    for path in _kept_files(state):
        _copy(path, to / path.relative_to(state))
    for name in _DATABASES:
        if (state / name).exists():
            try:
                copy_sqlite(state / name, to / name)
            except CopyError as error:
                raise BackupError(str(error)) from error
    digests = {str(path.relative_to(to)): _digest(path) for path in _files(to)}
    body = {"at": now.astimezone(UTC).isoformat(timespec="seconds"), "files": digests}
    # Written last: a folder without it is no backup.
    write_private(to / MANIFEST, json.dumps(body, indent=1).encode() + b"\n")
    return digests


def restore(backup: Path, state: Path) -> datetime:
    """Copy a whole backup to a folder that is empty, or not there; of when it is. Raises BackupError or OSError."""
    at, digests = checked(backup)
    if state.exists() and any(state.iterdir()):
        raise BackupError(f"{state} is not empty: restore to a new folder, or move that away")
    private_directory(state)
    for name in digests:
        _copy(backup / name, state / name)
    return at


def checked(backup: Path) -> tuple[datetime, Mapping[str, str]]:
    """A backup's time and files, each looked at. Raises BackupError where one is not what was written, or OSError."""
    path = backup / MANIFEST
    if not path.exists():
        raise BackupError(f"{backup} is no backup, or one that was not finished: there is no {MANIFEST}")
    try:
        body = json.loads(path.read_bytes())
        at, digests = datetime.fromisoformat(body["at"]), dict(body["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path} cannot be read: {error}") from error
    found = {str(one.relative_to(backup)) for one in _files(backup)} - {MANIFEST}
    if found != digests.keys():
        odd = ", ".join(sorted(found ^ digests.keys()))
        raise BackupError(f"{backup} does not hold the files that {MANIFEST} names: {odd}")
    for name, digest in digests.items():
        if _digest(backup / name) != digest:
            raise BackupError(f"{backup / name} is not what was written")
    return at, digests


def _kept_files(state: Path) -> Iterator[Path]:
    for name in _KEPT:
        path = state / name
        if path.is_file():
            yield path
        elif path.is_dir():
            yield from (one for one in _files(path) if one.name != _LOCK)


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder; links are not followed, and are none."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def _copy(path: Path, to: Path) -> None:
    for parent in reversed(to.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700)
    try:
        content = path.open("rb")
    except FileNotFoundError:
        # A file of the spool whose events have reached the database, which is copied later.
        return
    with content, os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file, _READ)
        file.flush()
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
