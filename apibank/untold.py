"""What is looked up to answer one person's question is told in the answer, and not in the log of who was asked.

There it would look as if a gateway had lost an issuer, which nobody but the asker has tried to reach.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import structlog

_UNTOLD: Final = ContextVar("untold", default=False)


@contextmanager
def untold() -> Iterator[None]:
    """What is logged within, and by tasks that are begun within, is not written."""
    before = _UNTOLD.set(True)
    try:
        yield
    finally:
        _UNTOLD.reset(before)


def without_untold(_: object, __: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """The processor of the logs that leaves such events out. Raises structlog.DropEvent."""
    if _UNTOLD.get():
        raise structlog.DropEvent
    return event
