"""Become another program that cannot outlive the process that started it: `launch.py PARENT PROGRAM [ARGUMENT]...`.

The kernel sends SIGKILL to this process when its parent dies, however that happens (prctl(2), PR_SET_PDEATHSIG); the
setting survives exec, and so does the pid. A program of its own rather than a `preexec_fn`, because Python code that
runs between fork and exec can deadlock in a parent with threads. It imports nothing but the standard library, so that
it starts in a few milliseconds under `python -I -S`.

Only Linux has the setting. Elsewhere children end with an orderly stop, but not with a killed parent.
"""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
NOT_STARTED: Final = 127  # as a shell says it


def main(arguments: list[str]) -> str | int:
    """Exec the program; what is returned is why that failed."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            return f"prctl: {os.strerror(ctypes.get_errno())}"
    # The parent may have died before the setting took effect; then nobody will send the signal.
    if os.getppid() != parent:
        return "the parent is gone"
    try:
        os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {error.strerror}\n")
        return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
