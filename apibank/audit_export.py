"""Rows of the audit in a file or on standard output, one after the other."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from apibank.audit_shown import row_shown
from records.audit_entry import StoredEntry


def json_line(row: StoredEntry) -> str:
    """A row as a line of JSON in ASCII: nothing in it reaches a terminal or makes another line."""
    return json.dumps(dict(row_shown(row))).replace("\x7f", "\\u007f") + "\n"


class Export:
    """Takes rows; `count` of them so far."""

    def __init__(self, file: TextIO, *, as_array: bool) -> None:
        self.count = 0
        self._file = file
        self._as_array = as_array

    def put(self, row: StoredEntry) -> None:
        """Write one row."""
        if self._as_array:
            self._file.write(",\n" if self.count else "[\n")
        line = json_line(row)
        self._file.write(line.rstrip("\n") if self._as_array else line)
        self.count += 1

    def finish(self) -> None:
        """Nothing comes after this."""
        if self._as_array:
            self._file.write("\n]\n" if self.count else "[]\n")
        self._file.flush()


@contextmanager
def exported(path: Path | None, *, as_array: bool) -> Iterator[Export]:
    """An export to a new file that its owner alone may read, or to standard output. Raises OSError.

    A file that could not be written to its end is removed.
    """
    if path is None:
        export = Export(sys.stdout, as_array=as_array)
        yield export
        export.finish()
        return
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            export = Export(file, as_array=as_array)
            yield export
            export.finish()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
