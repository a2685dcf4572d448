"""The processes of a running federation by what they serve, found where its supervisor started them."""

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil

from tests.support.stack import Stack


def process_of(stack: Stack, *words: str) -> psutil.Process:
    """The one whose command line has all of these words one after the other."""
    wanted = " ".join(words)
    for one in psutil.Process(stack.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if f" {wanted} " in f" {' '.join(one.cmdline())} ":
                return one
    raise LookupError(f"no process of {stack.state_dir} is {wanted}")


@contextlib.contextmanager
def paused(process: psutil.Process) -> Iterator[None]:
    """It neither runs nor ends: whoever asks it hears nothing. It goes on at the end, where it is still there."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGCONT)
