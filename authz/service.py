"""From the bytes of checks to the bytes of answers, many at a time, whichever server they came by.

Nothing passes by accident: whatever goes wrong in here is answered with a denial, and whatever goes wrong around it
reaches Envoy as an error, which its filter turns into a 503.
"""

import asyncio
import traceback
from collections.abc import Sequence
from typing import Final

import structlog

from authz.answers import Answers
from authz.authorizer import GIVEN_UP, Authorizer
from authz.denied import write_failure
from authz.request import Request
from authz.unsettled import Unsettled
from authz.wire import UnreadableCheckError, read_check
from rpc.service import Failure, Status

_LOG: Final = structlog.get_logger(__name__)


class CheckService:
    """Check on serialised messages. One check's failure is no other's, and is a denial."""

    def __init__(self, authorizer: Authorizer) -> None:
        self.authorizer = authorizer
        self._answers = Answers()

    def begin(self, raw: bytes, started: float) -> bytes | Failure | Unsettled:
        """A serialised CheckResponse for a serialised CheckRequest; why there is none; or a check to `settle`.

        `started`: when the check came, by the authorizer's counter. Never raises, and never waits.
        """
        request: Request | None = None
        try:
            request = read_check(raw)
            outcome = self.authorizer.begin(request, started)
            return outcome if isinstance(outcome, Unsettled) else self._answers.write(outcome, request)
        except UnreadableCheckError as error:
            return Failure(Status.INVALID_ARGUMENT, str(error))
        except Exception as error:  # noqa: BLE001 whatever it was, the answer is no
            return self._refused(request, error)

    async def settle(self, waiting: Sequence[Unsettled]) -> list[bytes]:
        """A serialised CheckResponse for each of the checks that had to wait. Raises nothing but CancelledError.

        Who gives a check up says so on it, or cancels all of them: then none is a success.
        """
        try:
            outcomes = await self.authorizer.settle(waiting)
        except asyncio.CancelledError:
            for each in waiting:
                self.authorizer.failed(each.request, GIVEN_UP)
            raise
        except Exception as error:  # noqa: BLE001 whatever it was, the answer is no
            return [self._refused(each.request, error) for each in waiting]
        answers = []
        for each, outcome in zip(waiting, outcomes, strict=True):
            try:
                if isinstance(outcome, Exception):
                    raise outcome
                answers.append(self._answers.write(outcome, each.request))
            except Exception as error:  # noqa: BLE001 whatever it was, the answer is no
                answers.append(self._refused(each.request, error))
        return answers

    def _refused(self, request: Request | None, error: Exception) -> bytes:
        # Its type and place, not its text, which may hold a credential.
        place = traceback.extract_tb(error.__traceback__)[-1] if error.__traceback__ is not None else None
        where = {} if place is None else {"file": place.filename, "line": place.lineno}
        _LOG.error("check_failed", error=type(error).__name__, **where)
        self.authorizer.failed(request)
        return write_failure("" if request is None else request.request_id)
