"""Passwords of databases and stores by reference: a URL names a file, and the file holds the password.

`postgresql://apibank@db/apibank?password_file=/run/secrets/postgres` and `redis://valkey:6379/0?password_file=…` are
no secrets themselves, so they can stand in settings, in command lines and in what a process shows of itself. The file
is read when a connection is made, and when it has changed the next use makes a new one.
"""

import os
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

PARAMETER: Final = "password_file"
_LONGEST: Final = 4096

Stamp = tuple[int, int, int, int]


class PasswordFileError(OSError):
    """The file cannot be used; the text names it and never what is in it. To whoever connects it is a lost server."""


class PasswordFile:
    """The password for one user; also what redis-py asks for credentials."""

    def __init__(self, path: Path, user: str = "") -> None:
        self.path = path
        self.user = user

    def read(self) -> str:
        """The first line. Raises PasswordFileError where there is none."""
        try:
            with self.path.open("rb") as file:
                content = file.read(_LONGEST)
            password = content.split(b"\n")[0].rstrip(b"\r").decode("utf-8")
        except OSError as error:
            raise PasswordFileError(f"the password file {self.path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError:
            raise PasswordFileError(f"the password file {self.path} is not UTF-8") from None
        if not password:
            raise PasswordFileError(f"the password file {self.path} is empty")
        return password

    def stamp(self) -> Stamp | None:
        """What differs when the file has changed; None where it is not there, which changes nothing."""
        try:
            found = os.stat(self.path)  # noqa: PTH116 one call suffices
        except OSError:
            return None
        # The time of the entry too, which nobody sets: passwords are of one length, and inodes are used again.
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """As redis-py sends them with AUTH."""
        return (self.user, self.read()) if self.user else (self.read(),)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        return self.get_credentials()


class Changes:
    """Whether a password file has changed since somebody last asked."""

    def __init__(self, file: PasswordFile | None) -> None:
        self._file = file
        self._seen = None if file is None else file.stamp()

    def __call__(self) -> bool:
        if self._file is None:
            return False
        found = self._file.stamp()
        changed = found is not None and found != self._seen
        if changed:
            self._seen = found
        return changed


def split_reference(url: str) -> tuple[str, PasswordFile | None]:
    """The URL without its reference and without its user, and the file that it names, with the user.

    A URL that names no file is returned as it is.

    Raises ValueError where it names a file and holds a password too; the text holds neither.
    """
    if PARAMETER not in url:
        return url, None
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    named = [value for name, value in query if name == PARAMETER]
    if not named:
        return url, None
    if len(named) > 1 or not named[0] or parts.password is not None:
        raise ValueError(f"a URL with {PARAMETER} names one file, and holds no password")
    rest = urlencode([(name, value) for name, value in query if name != PARAMETER], quote_via=quote, safe="/")
    address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{rest}" if rest else "")
    return address, PasswordFile(Path(named[0]), unquote(parts.username or ""))
