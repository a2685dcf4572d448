"""The bytes of an answer, read back by protobuf, and the texts of its headers."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import rls_pb2 as pb
from ratelimit.algorithms import NEVER, FixedWindow
from ratelimit.answer import Figures, fixed_headers, problem_body, retry_after
from ratelimit.matching import Plan, plan
from ratelimit.request import Descriptor, Request, Unit
from ratelimit.rules import DomainRules, Headers, Node, Rule
from ratelimit.store import Outcome, Reading
from ratelimit.wire import AnswerWriter

KINDS = ["limited", "shadow", "unlimited", "unmatched"]


def plan_of(kinds: list[str], headers: Headers = Headers.ALWAYS) -> Plan:
    rules = {
        "limited": Rule("limited", FixedWindow(5, 60_000_000)),
        "shadow": Rule("shadow", FixedWindow(5, 60_000_000), shadow=True),
        "unlimited": Rule("unlimited", None),
    }
    root = Node(exact={("k", name): Node(rule) for name, rule in rules.items()})
    request = Request("d", tuple(Descriptor((("k", kind),)) for kind in kinds))
    return plan(request, {"d": DomainRules("d", root, headers)})


times = st.integers(0, 10**13)
readings = st.one_of(
    st.tuples(st.just(True), st.integers(0, 2**40), st.just(0), times),
    st.tuples(st.just(False), st.integers(0, 2**40), st.just(NEVER) | times, times),
)


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), st.data())
def test_every_figure_of_an_outcome_is_read_back_from_the_answer(kinds: list[str], data: st.DataObject) -> None:
    planned = plan_of(kinds)
    drawn: list[Reading] = [data.draw(readings) for _ in planned.limited]
    admitted = all(reading[0] or rule.shadow for rule, reading in zip(planned.limited, drawn, strict=True))
    message = pb.RateLimitResponse.FromString(AnswerWriter(planned).write(Outcome(admitted, drawn)))
    assert message.overall_code == (pb.RateLimitResponse.OK if admitted else pb.RateLimitResponse.OVER_LIMIT)
    assert len(message.statuses) == len(kinds)
    rest = iter(drawn)
    for kind, status in zip(kinds, message.statuses, strict=True):
        assert status.HasField("current_limit") == (kind in {"limited", "shadow"})
        if kind in {"limited", "shadow"}:
            passed, remaining, wait, reset = next(rest)
            assert (status.code == pb.RateLimitResponse.OK) == (passed or kind == "shadow")
            assert status.limit_remaining == min(remaining, 2**32 - 1)
            assert status.duration_until_reset.ToMicroseconds() == (reset if passed or wait == NEVER else wait)
            assert status.current_limit.name == kind
        else:
            assert status.code == pb.RateLimitResponse.OK
            assert status.limit_remaining == (2**32 - 1 if kind == "unlimited" else 0)
    assert bool(message.raw_body) == (not admitted)
    assert bool(message.response_headers_to_add) == ("limited" in kinds)


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [(0, "0"), (1, "1"), (999_999, "1"), (1_000_000, "1"), (1_000_001, "2"), (NEVER, None)]
)
def test_retry_after_is_rounded_up_so_that_who_waits_is_not_refused_again(
    microseconds: int, seconds: str | None
) -> None:
    assert retry_after((False, 0, microseconds, 0)) == seconds


def test_the_refusing_limit_with_the_longest_wait_is_spoken_of_first() -> None:
    figures = Figures(plan_of(["limited", "limited", "limited"]))
    drawn: list[Reading] = [(True, 9, 0, 5_000_000), (False, 0, 2_000_000, 9), (False, 0, 3_000_000, 9)]
    assert figures.binding(drawn) == 2
    assert figures.of(drawn) == ('"limited";r=0;t=3, "limited";r=0;t=2, "limited";r=9;t=5', "5", "0", "3")
    drawn[0] = (False, 0, NEVER, 7_000_000)
    assert figures.binding(drawn) == 0


def test_a_name_is_quoted_as_structured_fields_demand() -> None:
    odd = Rule('a"b\\c\u00e9\n', FixedWindow(5, 1_000_000), Unit.SECOND)
    root = Node(any_value={"k": Node(odd)})
    planned = plan(Request("d", (Descriptor((("k", "v"),)),)), {"d": DomainRules("d", root)})
    assert fixed_headers(planned, admitted=True) == [("RateLimit-Policy", '"a\\"b\\\\c??";q=5;w=1')]


def test_the_problem_document_has_the_limits_own_words() -> None:
    body = orjson.loads(problem_body(Rule("r", None, code="quota", refusal="Genug \u201efür heute\u201c")))
    assert body == {
        "type": "https://waooaw.ai/problems/quota",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "Genug \u201efür heute\u201c",
        "code": "quota",
    }
