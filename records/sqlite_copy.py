"""A SQLite file copied whole while others write to it."""

import os
import sqlite3
from pathlib import Path

from records.errors import CopyError


def copy_sqlite(path: Path, to: Path) -> None:
    """Copy by SQLite itself, which takes what its journal holds and waits for nobody. Raises CopyError or OSError."""
    os.close(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        source, copy = sqlite3.connect(f"file:{path}?mode=ro", uri=True), sqlite3.connect(to)
        try:
            source.backup(copy)
            # One file, without a journal beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
        finally:
            source.close()
            copy.close()
    except sqlite3.Error as error:
        raise CopyError(f"{path} cannot be copied: {error}") from error
