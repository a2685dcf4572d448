"""Whatever a client sends, deciding and recording it is little work.

Work is counted in calls, those into C included, since time depends on what else a machine does; how long the single
calls can take follows from what they are given, which other tests bound, and `python -m bench.authz` shows it.
"""

from collections.abc import Callable

from authz.answers import Answers
from authz.audit import Pseudonyms, audit_event
from authz.body_schema import MAX_ERRORS
from authz.decision import Decision
from authz.pipeline import decide
from authz.request import Request
from tests.unit.authz.hostile import RULES, calls_of, requests
from tests.unit.authz.world import NOW, facts

FACTS = facts()
PSEUDONYMS = Pseudonyms()
# What may be taken apart in Python: paths and lines of a few KB, and one value for 64 octets of a body.
CALLS = 32_768
CALLS_FOR_A_MESSAGE = 100_000


def answering(asked: Request) -> Callable[[], Decision]:
    def answer() -> Decision:
        decision = decide(asked, RULES[asked.gateway], FACTS, NOW)
        audit_event(asked, decision, NOW, PSEUDONYMS)
        Answers().write(decision, asked)
        return decision

    return answer


def test_no_request_makes_much_work_however_large_it_is() -> None:
    worst = {name: calls_of(answering(asked)) for name, asked in requests()}
    bounds = {name: CALLS_FOR_A_MESSAGE if name.startswith("message") else CALLS for name in worst}
    assert {name: calls for name, calls in worst.items() if calls > bounds[name]} == {}


def test_what_is_recorded_and_answered_stays_small_however_large_a_request_is() -> None:
    for name, asked in requests():
        decision = decide(asked, RULES[asked.gateway], FACTS, NOW)
        assert len(repr(audit_event(asked, decision, NOW, PSEUDONYMS))) < 4000, name
        assert decision.refusal is None or len(decision.refusal.errors) <= MAX_ERRORS, name
