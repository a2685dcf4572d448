"""Paths: a path that passes for a route leads below that route to every reader, however often it decodes."""

import posixpath
from urllib.parse import unquote

from authz.checks.target import is_normal_path
from tests.fuzz.again import run_again

ROUTE = "/api/marketing"


def judge(octets: bytes) -> None:
    """Raises where a promise is broken."""
    path = octets.decode("utf-8", "surrogateescape")
    if not is_normal_path(path):
        return
    for read in (path, unquote(path), unquote(unquote(path))):
        # A reader that takes backslashes for slashes, cuts segments at a semicolon, and ends at a NUL.
        loose = "/".join(part.partition(";")[0] for part in read.replace("\\", "/").partition("\0")[0].split("/"))
        for one in (read, loose):
            assert "//" not in one
            assert posixpath.normpath(one) == (one.rstrip("/") or "/")
            assert one.startswith(ROUTE + "/") == path.startswith(ROUTE + "/")


if __name__ == "__main__":
    run_again(judge)
