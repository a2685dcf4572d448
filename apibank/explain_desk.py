"""Requests explained for the control API: by the policies in force, with facts looked up for each question."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from apibank.examined import Sent, with_checks
from apibank.explanation import CannotExplainError, explained
from apibank.facts_at_hand import facts_at_hand
from apibank.published import Published
from apibank.untold import untold
from policy.load import Loaded
from policy.model import Gateway
from portal.explain_api import ExplainRequest, Record
from portal.problems import Refused
from records.database import Database

EDGE: Final = "central"
# Each fetches keys and reads tables: a few at a time are enough for people.
_AT_ONCE: Final = 2


class ExplainDesk:
    """The control API's port `Explanations`. Nothing that it does is counted, audited, noted or spent."""

    def __init__(
        self, states: Mapping[str, Published], database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        """`states`: what is published, by gateway. `clock`: seconds since the epoch."""
        self._states = states
        self._database = database
        self._clock = clock
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def explain(self, request: ExplainRequest) -> Record:
        """The request's way, and what each check says where it carries anything. Raises Refused."""
        policies = {name: one.loaded for name, one in self._states.items() if one.loaded is not None}
        if not policies:
            raise Refused(404, "gateway_not_found", "no gateway has a policy whose file has been read")
        start = request.gateway or first_of(policies)
        try:
            told = explained(policies, request.method, request.path, start, request.listener)
        except CannotExplainError as error:
            raise Refused(404, "gateway_not_found", str(error)) from error
        if not request.checks:
            return told.as_record()
        headers = {name.lower(): value.get_secret_value() for name, value in (request.headers or {}).items()}
        sent = Sent(headers, request.body, str(request.address or "127.0.0.1"))
        async with self._places:
            with untold():
                return await with_checks(
                    told, policies, sent, partial(facts_at_hand, database=self._database), self._clock
                )


def first_of(policies: Mapping[str, Loaded[Gateway]]) -> str:
    """Where requests come in unless somebody says otherwise."""
    return EDGE if EDGE in policies else next(iter(policies))
