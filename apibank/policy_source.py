"""Reading a file that somebody put where policies are: whatever it is, it is read quickly or refused."""

import os
import stat
from pathlib import Path
from typing import Final

from policy.problem import Diagnostic, PolicyError, Position, Source, source_of
from policy.yaml_nodes import MAX_CHARACTERS

# What the loader takes at most, where every character takes four bytes.
_MAX_BYTES: Final = 4 * MAX_CHARACTERS
_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_source(path: Path) -> Source:
    """A file as the loader takes it. Raises FileNotFoundError; PolicyError where it cannot be read or is no text."""
    try:
        content = _content(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _refused(path, f"it cannot be read: {error.strerror or error}") from error
    return source_of(shown(path), content)


def shown(path: Path) -> str:
    """The file's name, as a person would say it from where they stand."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, OSError, RuntimeError):
        # Elsewhere; or links that lead in a circle, which some versions of Python do not resolve.
        return str(path)


def _content(path: Path) -> bytes:
    # To open some devices does something, and a pipe would be waited for until somebody writes into it.
    if not stat.S_ISREG(path.stat().st_mode):
        raise _not_regular(path, path.stat().st_mode)
    with open(path, "rb", opener=_without_waiting) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _not_regular(path, found.st_mode)
        if found.st_size > _MAX_BYTES or len(content := file.read(_MAX_BYTES + 1)) > _MAX_BYTES:
            raise _refused(path, "the file is too long", expected=f"at most {_MAX_BYTES:,} bytes")
        return content


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)


def _not_regular(path: Path, mode: int) -> PolicyError:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return _refused(path, f"{kind}, where a policy's file should be", expected="a regular file")


def _refused(path: Path, message: str, *, expected: str = "") -> PolicyError:
    return PolicyError([Diagnostic(Position(shown(path), 1, 1), (), message, expected=expected)])
