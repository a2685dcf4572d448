"""A service's functions as servers call them: whatever goes wrong in one is a failure without a text of its own."""

import traceback
from collections.abc import Sequence
from typing import Final

import structlog

from rpc.service import Failure, Method, Status, WaitingT

_LOG: Final = structlog.get_logger(__name__)
INTERNAL: Final = Failure(Status.INTERNAL, "the call could not be answered")
UNKNOWN_HEALTH: Final = Failure(Status.NOT_FOUND, "unknown service")
UNREADABLE_HEALTH: Final = Failure(Status.INVALID_ARGUMENT, "not a HealthCheckRequest")
LEAVING: Final = Failure(Status.UNAVAILABLE, "the server is shutting down")


def begin(method: Method[WaitingT], raw: bytes, started: float) -> bytes | Failure | WaitingT:
    if len(raw) > method.max_bytes:
        return Failure(Status.RESOURCE_EXHAUSTED, f"a message has at most {method.max_bytes} bytes")
    try:
        return method.service.begin(raw, started)
    except Exception as error:  # noqa: BLE001 one call's fault is no other's
        return broken(method, error)


async def settle(method: Method[WaitingT], waiting: Sequence[WaitingT]) -> Sequence[bytes | Failure]:
    """As many ends as there are calls."""
    try:
        ends = await method.service.settle(waiting)
        if len(ends) != len(waiting):
            raise ValueError("not as many answers as calls")
    except Exception as error:  # noqa: BLE001 nobody knows which of them it was
        return [broken(method, error)] * len(waiting)
    return ends


def broken(method: Method[WaitingT], error: Exception) -> Failure:
    # Its type and place, not its text, which may hold what was asked.
    place = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ is not None else None
    where = {} if place is None else {"file": place.filename, "line": place.lineno}
    _LOG.error("call_failed", method=f"{method.service_name}/{method.name}", error=type(error).__name__, **where)
    return INTERNAL
