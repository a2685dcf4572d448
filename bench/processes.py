"""A server in a process of its own, so that its CPU time can be told from the clients'."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psutil

FORK: Final = multiprocessing.get_context("fork")


@contextmanager
def served(target: Callable[..., None], *arguments: object) -> Iterator[tuple[Any, psutil.Process]]:
    """`target(*arguments, pipe)` until the end of the block: what it has sent through the pipe, and its process."""
    ours, theirs = multiprocessing.Pipe()
    process = FORK.Process(target=target, args=(*arguments, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(5)
