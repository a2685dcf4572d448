"""Black-box cases of the protocol, numbered as in the specification, asked over gRPC on both servers."""

from pathlib import Path

import grpc
import pytest

from protos import rls_pb2 as pb
from ratelimit.algorithms import FixedWindow
from ratelimit.config_files import reload_folder
from ratelimit.request import Unit
from ratelimit.rules import Headers, Rule
from ratelimit.server import SERVICE
from tests.contract.ratelimit.service import OK, OVER, SECOND, UNLIMITED, Asked, descriptor, domain, headers_of, per


async def test_01_an_unknown_domain_passes_without_a_limit(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(1, Unit.MINUTE)})
    for _ in range(3):
        answer = await asked.ask(descriptor(("key", "a")), domain="elsewhere")
        assert answer.overall_code == OK
        assert not answer.statuses[0].HasField("current_limit")
        assert answer.statuses[0].limit_remaining == 0


async def test_02_twenty_pass_counting_down_and_five_do_not(asked: Asked) -> None:
    domain(asked, {(("key2", None),): per(20, Unit.MINUTE)})
    answers = [await asked.ask(descriptor(("key2", "fresh"))) for _ in range(25)]
    assert [answer.overall_code for answer in answers] == [OK] * 20 + [OVER] * 5
    assert [answer.statuses[0].limit_remaining for answer in answers] == [*reversed(range(20)), 0, 0, 0, 0, 0]
    limits = {
        (each.statuses[0].current_limit.requests_per_unit, each.statuses[0].current_limit.unit) for each in answers
    }
    assert limits == {(20, pb.RateLimitResponse.RateLimit.MINUTE)}


async def test_03_a_request_refused_by_one_limit_costs_the_other_nothing(asked: Asked) -> None:
    domain(asked, {(("key2", None),): per(20, Unit.MINUTE), (("key3", None),): per(10, Unit.HOUR)})
    both = descriptor(("key2", "a")), descriptor(("key3", "a"))
    answers = [await asked.ask(*both) for _ in range(15)]
    assert [answer.overall_code for answer in answers] == [OK] * 10 + [OVER] * 5
    for answer in answers[10:]:
        assert [status.code for status in answer.statuses] == [OK, OVER]
        assert answer.statuses[0].limit_remaining == 10


async def test_04_a_rule_with_a_key_alone_limits_each_value_apart(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(2, Unit.MINUTE)})
    assert await asked.codes(descriptor(("key", "A")), times=3) == [OK, OK, OVER]
    assert await asked.codes(descriptor(("key", "B")), times=1) == [OK]


async def test_05_a_value_can_be_banned(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(10, Unit.MINUTE), (("key", "bad"),): per(0, Unit.MINUTE)})
    assert await asked.codes(descriptor(("key", "bad")), times=2) == [OVER, OVER]
    assert await asked.codes(descriptor(("key", "good")), times=2) == [OK, OK]


async def test_06_nested_descriptors_limit_the_pair_and_the_single_value(asked: Asked) -> None:
    marketing = (("message_type", "marketing"), ("to_number", None))
    domain(asked, {marketing: per(5, Unit.DAY), (("to_number", None),): per(100, Unit.DAY)})
    number = descriptor(("to_number", "2061111111"))
    pair = descriptor(("message_type", "marketing"), ("to_number", "2061111111"))
    assert await asked.codes(pair, number, times=6) == [OK] * 5 + [OVER]
    assert await asked.codes(number, times=1) == [OK]
    # Shorter or longer than the rule: not the rule's descriptor.
    assert await asked.codes(descriptor(("message_type", "marketing")), times=6) == [OK] * 6


async def test_07_a_limit_in_shadow_counts_and_refuses_nobody(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(3, Unit.MINUTE, shadow=True)})
    answers = [await asked.ask(descriptor(("key", "a"))) for _ in range(6)]
    assert {answer.overall_code for answer in answers} == {OK}
    assert {answer.statuses[0].code for answer in answers} == {OK}
    assert [answer.statuses[0].limit_remaining for answer in answers] == [2, 1, 0, 0, 0, 0]
    labels = {"domain": "test", "limit": "3 per minute"}
    assert asked.metric("apibank_ratelimit_decisions_total", **labels, outcome="shadow_refused") == 3


async def test_08_unlimited_is_said_to_be_so(asked: Asked) -> None:
    domain(asked, {(("key", None),): Rule("free for all", None)})
    status = (await asked.ask(descriptor(("key", "a")))).statuses[0]
    assert (status.code, status.limit_remaining) == (OK, UNLIMITED)
    assert not status.HasField("current_limit")


async def test_09_a_limit_that_comes_with_the_request_goes_before_the_rule(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(1, Unit.MINUTE)})
    own = descriptor(("key", "a"))
    own.limit.requests_per_unit, own.limit.unit = 10, pb.RateLimitDescriptor.RateLimitOverride.DAY
    answers = [await asked.ask(own) for _ in range(11)]
    assert [answer.overall_code for answer in answers] == [OK] * 10 + [OVER]
    limit = answers[0].statuses[0].current_limit
    assert (limit.requests_per_unit, limit.unit) == (10, pb.RateLimitResponse.RateLimit.DAY)
    assert await asked.codes(own, times=11, domain="elsewhere") == [OK] * 11


async def test_10_hits_are_added_whole(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(10, Unit.MINUTE)})
    first = await asked.ask(descriptor(("key", "a")), hits=6)
    assert (first.overall_code, first.statuses[0].limit_remaining) == (OK, 4)
    assert (await asked.ask(descriptor(("key", "a")), hits=6)).overall_code == OVER
    # Refused hits were not taken.
    assert (await asked.ask(descriptor(("key", "a")), hits=4)).overall_code == OK


async def test_11_no_hits_for_the_request_mean_one(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(1, Unit.MINUTE)})
    assert (await asked.ask(descriptor(("key", "a")), hits=0)).overall_code == OK
    assert (await asked.ask(descriptor(("key", "a")), hits=0)).overall_code == OVER


async def test_11_no_hits_for_a_descriptor_only_ask(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(1, Unit.MINUTE)})
    asking, taking = descriptor(("key", "a"), hits=0), descriptor(("key", "a"), hits=1)
    assert await asked.codes(asking, times=2) == [OK, OK]
    assert await asked.codes(taking, times=1) == [OK]
    assert await asked.codes(asking, times=1) == [OVER]
    assert await asked.codes(descriptor(("key", "a"), hits=1, refund=True), times=1) == [OK]
    assert await asked.codes(asking, taking, taking, times=1) == [OVER]
    assert await asked.codes(asking, taking, times=1) == [OK]


async def test_12_the_time_until_reset_runs_down(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(10, Unit.DAY)})
    first = (await asked.ask(descriptor(("key", "a")))).statuses[0].duration_until_reset
    asked.clock[0] += 2 * SECOND
    second = (await asked.ask(descriptor(("key", "a")))).statuses[0].duration_until_reset
    assert first.ToMicroseconds() - second.ToMicroseconds() == 2 * SECOND


async def test_13_rules_change_while_counters_of_untouched_ones_stay(asked: Asked) -> None:
    kept = {(("kept", None),): per(2, Unit.MINUTE)}
    domain(asked, kept)
    assert await asked.codes(descriptor(("kept", "a")), times=1) == [OK]
    assert not (await asked.ask(descriptor(("new", "a")))).statuses[0].HasField("current_limit")
    domain(asked, {**kept, (("new", None),): per(50, Unit.SECOND)})
    limit = (await asked.ask(descriptor(("new", "a")))).statuses[0].current_limit
    assert (limit.requests_per_unit, limit.unit) == (50, pb.RateLimitResponse.RateLimit.SECOND)
    domain(asked, kept)
    assert not (await asked.ask(descriptor(("new", "a")))).statuses[0].HasField("current_limit")
    assert await asked.codes(descriptor(("kept", "a")), times=2) == [OK, OVER]
    domain(asked, {(("kept", None),): per(3, Unit.MINUTE)})
    assert await asked.codes(descriptor(("kept", "a")), times=2) == [OK, OVER]


FILE = """\
domain: test
descriptors:
  - {key: kept, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: banned, rate_limit: {name: ban, unit: minute, requests_per_unit: 0}}
  - {key: pardoned, rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: ban}]}}
"""
ADDED = "domain: added\ndescriptors: [{key: new, rate_limit: {unit: second, requests_per_unit: 50}}]"


async def test_13_a_file_that_comes_and_goes_leaves_the_counters_of_the_others_alone(
    asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / "test.yaml").write_text(FILE)
    assert reload_folder(asked.limiter, tmp_path) is None
    assert await asked.codes(descriptor(("kept", "a")), times=1) == [OK]
    new = descriptor(("new", "a"))
    assert not (await asked.ask(new, domain="added")).statuses[0].HasField("current_limit")
    (tmp_path / "added.yaml").write_text(ADDED)
    assert reload_folder(asked.limiter, tmp_path) is None
    assert (await asked.ask(new, domain="added")).statuses[0].current_limit.requests_per_unit == 50
    (tmp_path / "added.yaml").unlink()
    assert reload_folder(asked.limiter, tmp_path) is None
    assert not (await asked.ask(new, domain="added")).statuses[0].HasField("current_limit")
    assert await asked.codes(descriptor(("kept", "a")), times=2) == [OK, OVER]


async def test_14_a_broken_file_leaves_the_rules_in_force_and_is_counted(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(FILE)
    assert reload_folder(asked.limiter, tmp_path) is None
    (tmp_path / "test.yaml").write_text(FILE.replace("minute", "fortnight"))
    assert "fortnight" in str(reload_folder(asked.limiter, tmp_path))
    assert await asked.codes(descriptor(("kept", "a")), times=3) == [OK, OK, OVER]
    assert isinstance(reload_folder(asked.limiter, tmp_path / "gone"), OSError)
    loads = "apibank_ratelimit_config_loads_total"
    assert (asked.metric(loads, outcome="ok"), asked.metric(loads, outcome="failed")) == (1, 2)


async def test_16_a_rule_that_replaces_another_is_the_one_that_counts(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "test.yaml").write_text(FILE)
    assert reload_folder(asked.limiter, tmp_path) is None
    banned, pardoned = descriptor(("banned", "a")), descriptor(("pardoned", "a"))
    assert await asked.codes(banned, times=1) == [OVER]
    assert await asked.codes(banned, pardoned, times=3) == [OK, OK, OVER]


@pytest.mark.parametrize(
    "request_",
    [
        pb.RateLimitRequest(descriptors=[descriptor(("key", "a"))]),
        pb.RateLimitRequest(domain="test"),
        pb.RateLimitRequest(
            domain="test",
            descriptors=[pb.RateLimitDescriptor(limit=pb.RateLimitDescriptor.RateLimitOverride(requests_per_unit=1))],
        ),
    ],
    ids=["no domain", "no descriptors", "a limit without a unit"],
)
async def test_17_a_request_that_asks_nothing_is_an_error(asked: Asked, request_: pb.RateLimitRequest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked.stub.ShouldRateLimit(request_, timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert asked.metric("apibank_ratelimit_invalid_requests_total") == 1


async def test_17_bytes_that_are_no_request_are_an_error(asked: Asked) -> None:
    call = asked.channel.unary_unary(f"/{SERVICE}/ShouldRateLimit")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"\xff\xff", timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_18_a_wildcard_limits_each_of_its_values_apart(asked: Asked) -> None:
    domain(asked, {(("key", "foo*"),): per(2, Unit.MINUTE), (("key", "foo"),): per(1, Unit.MINUTE)})
    assert await asked.codes(descriptor(("key", "foo1")), times=3) == [OK, OK, OVER]
    assert await asked.codes(descriptor(("key", "foo2")), times=1) == [OK]
    assert await asked.codes(descriptor(("key", "foo")), times=2) == [OK, OVER]
    assert await asked.codes(descriptor(("key", "bar")), times=5) == [OK] * 5


async def test_19_headers_describe_the_tighter_limit_first(asked: Asked) -> None:
    minute = Rule("minute", FixedWindow(10, Unit.MINUTE.microseconds), Unit.MINUTE)
    hour = Rule("hour", FixedWindow(100, Unit.HOUR.microseconds), Unit.HOUR)
    domain(asked, {(("minute", None),): minute, (("hour", None),): hour})
    unmatched, loose, tight = descriptor(("x", "y")), descriptor(("hour", "a")), descriptor(("minute", "a"))
    headers = headers_of(await asked.ask(unmatched, loose, tight))
    assert headers == {
        "RateLimit-Policy": '"hour";q=100;w=3600, "minute";q=10;w=60',
        "RateLimit": '"minute";r=9;t=60, "hour";r=99;t=3600',
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "9",
        "X-RateLimit-Reset": "60",
    }
    assert headers_of(await asked.ask(unmatched)) == {}


async def test_19_headers_can_be_kept_for_refusals_or_left_out(asked: Asked) -> None:
    for headers, answered in ((Headers.REFUSAL, True), (Headers.NEVER, False)):
        asked.clock[0] += 60 * SECOND
        domain(asked, {(("key", None),): per(1, Unit.MINUTE)}, headers)
        assert headers_of(await asked.ask(descriptor(("key", "a")))) == {}
        refused = await asked.ask(descriptor(("key", "a")))
        assert ("Retry-After" in headers_of(refused)) == bool(refused.raw_body) == answered


async def test_20_statuses_are_those_of_the_request_in_its_order(asked: Asked) -> None:
    domain(asked, {(("a", None),): per(1, Unit.MINUTE), (("b", None),): per(2, Unit.HOUR)})
    names = ["x", "b", "a", "x", "b", "a"]
    await asked.ask(descriptor(("a", "v0")))
    answer = await asked.ask(*(descriptor((name, f"v{index % 3 // 2}")) for index, name in enumerate(names)))
    assert [status.current_limit.requests_per_unit for status in answer.statuses] == [0, 2, 1, 0, 2, 1]
    assert answer.overall_code == OVER
