"""What every service process does around its work: logs, one event loop, and a clean end on SIGTERM."""

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from apibank.output import fail
from apibank.untold import without_untold

Service = Callable[[asyncio.Event], Awaitable[None]]
# gRPC says with a RuntimeError that an address is taken.
_OPERATORS_TO_MEND = (OSError, ValueError, RuntimeError)


def configure_logs(level: str) -> None:
    """JSON lines on stderr: one event a line, in UTC, whatever a caller has sent."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            without_untold,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def run_service(service: Service, *, log_level: str = "info") -> None:
    """Run a service until SIGTERM or SIGINT; `service` is given the event that says so, and returns soon after it.

    An OSError or ValueError ends the process with one line, since it is the operator's to mend: an address that is
    taken, a file that is not there.
    """
    configure_logs(log_level)
    try:
        uvloop.run(_until_told(service))
    except _OPERATORS_TO_MEND as error:
        fail(f"error: {_said(error)}")
    except BaseExceptionGroup as group:
        mend, rest = group.split(_OPERATORS_TO_MEND)
        if mend is None or rest is not None:
            raise
        fail("\n".join(f"error: {_said(error)}" for error in mend.exceptions))


def _said(error: BaseException) -> str:
    """Of a file, its name and what is wrong with it; Python would begin with a number."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror is not None:
        return f"{error.filename}: {error.strerror}"
    # A list of diagnostics says of each that it is an error.
    return str(error).removeprefix("error: ")


async def _until_told(service: Service) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await service(stop)
