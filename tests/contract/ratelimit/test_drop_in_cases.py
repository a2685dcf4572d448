"""The numbered cases against `apibank serve ratelimit --config DIR`, as a process, over each store.

The rules are files in envoyproxy/ratelimit's format, the questions come over gRPC, the clock is the machine's.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from protos import rls_pb2 as pb
from tests.contract.ratelimit.process import Served, get, served, until, within_one
from tests.contract.ratelimit.service import OK, OVER, UNLIMITED, descriptor, headers_of
from tests.contract.ratelimit.valkey import valkey

MINUTE, HOUR, DAY = 60, 3600, 86400
Wire = pb.RateLimitResponse.RateLimit

CASES = """\
domain: cases
descriptors:
  - {key: key2, rate_limit: {unit: minute, requests_per_unit: 20}}
  - {key: key3, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: two, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: ten, rate_limit: {unit: minute, requests_per_unit: 10}}
  - {key: ten, value: bad, rate_limit: {unit: minute, requests_per_unit: 0}}
  - {key: one, rate_limit: {unit: minute, requests_per_unit: 1}}
  - key: message_type
    value: marketing
    descriptors:
      - {key: to_number, rate_limit: {unit: day, requests_per_unit: 5}}
  - {key: to_number, rate_limit: {unit: day, requests_per_unit: 100}}
  - {key: shade, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 3}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: many, rate_limit: {unit: hour, requests_per_unit: 10000}}
  - {key: hourly, rate_limit: {unit: hour, requests_per_unit: 100}}
  - {key: banned, rate_limit: {name: ban, unit: minute, requests_per_unit: 0}}
  - {key: pardoned, rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: ban}]}}
  - {key: wild, value: foo*, rate_limit: {unit: minute, requests_per_unit: 20}}
  - {key: plain, value: foo, rate_limit: {unit: minute, requests_per_unit: 1}}
"""
ADDED = "domain: added\ndescriptors: [{key: new, rate_limit: {unit: second, requests_per_unit: 50}}]\n"


@pytest.fixture(scope="module", params=["memory", "valkey"])
def it(request: pytest.FixtureRequest) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="rl-") as place, valkey() as (url, _):
        folder = Path(place) / "config"
        folder.mkdir()
        (folder / "cases.yaml").write_text(CASES)
        store = "memory" if request.param == "memory" else url
        with served(folder, store, Path(place), "--headers", "always") as process:
            yield process


def test_01_an_unknown_domain_passes_without_a_limit(it: Served) -> None:
    answer = it.ask(descriptor(("key2", it.fresh())), domain="elsewhere")
    assert answer.overall_code == OK
    assert not answer.statuses[0].HasField("current_limit")
    assert answer.statuses[0].limit_remaining == 0


def test_02_twenty_pass_counting_down_and_five_do_not(it: Served) -> None:
    def test() -> None:
        value = it.fresh()
        answers = [it.ask(descriptor(("key2", value))) for _ in range(25)]
        assert [answer.overall_code for answer in answers] == [OK] * 20 + [OVER] * 5
        statuses = [answer.statuses[0] for answer in answers]
        assert [status.limit_remaining for status in statuses] == [*reversed(range(20)), 0, 0, 0, 0, 0]
        assert {(one.current_limit.requests_per_unit, one.current_limit.unit) for one in statuses} == {
            (20, Wire.MINUTE)
        }

    within_one(MINUTE, test)


def test_03_ten_pass_and_what_one_limit_refuses_costs_the_other_nothing(it: Served) -> None:
    def test() -> None:
        both = descriptor(("key2", it.fresh())), descriptor(("key3", it.fresh()))
        answers = [it.ask(*both) for _ in range(15)]
        assert [answer.overall_code for answer in answers] == [OK] * 10 + [OVER] * 5
        for answer in answers[10:]:
            assert [status.code for status in answer.statuses] == [OK, OVER]
            assert answer.statuses[0].limit_remaining == 10

    within_one(MINUTE, test)


def test_04_a_rule_with_a_key_alone_limits_each_value_apart(it: Served) -> None:
    def test() -> None:
        one, other = it.fresh(), it.fresh()
        assert it.codes(descriptor(("two", one)), times=3) == [OK, OK, OVER]
        assert it.codes(descriptor(("two", other)), times=1) == [OK]

    within_one(MINUTE, test)


def test_05_a_value_can_be_banned(it: Served) -> None:
    assert it.codes(descriptor(("ten", "bad")), times=2) == [OVER, OVER]
    assert it.codes(descriptor(("ten", it.fresh())), times=2) == [OK, OK]


def test_06_nested_descriptors_limit_the_pair_and_the_single_value(it: Served) -> None:
    def test() -> None:
        number = it.fresh()
        pair = descriptor(("message_type", "marketing"), ("to_number", number))
        alone = descriptor(("to_number", number))
        assert it.codes(pair, alone, times=6) == [OK] * 5 + [OVER]
        assert it.codes(alone, times=1) == [OK]

    within_one(DAY, test)


def test_07_a_limit_in_shadow_counts_and_refuses_nobody(it: Served) -> None:
    def test() -> None:
        value = it.fresh()
        answers = [it.ask(descriptor(("shade", value))) for _ in range(6)]
        assert {answer.overall_code for answer in answers} == {OK}
        assert [answer.statuses[0].limit_remaining for answer in answers] == [2, 1, 0, 0, 0, 0]

    within_one(MINUTE, test)


def test_08_unlimited_is_said_to_be_so(it: Served) -> None:
    answer = it.ask(descriptor(("free", it.fresh())))
    assert (answer.overall_code, answer.statuses[0].limit_remaining) == (OK, UNLIMITED)
    assert not answer.statuses[0].HasField("current_limit")


def test_09_a_limit_that_comes_with_the_request_goes_before_the_rule(it: Served) -> None:
    def test() -> None:
        own = descriptor(("one", it.fresh()))
        own.limit.requests_per_unit, own.limit.unit = 10, pb.RateLimitDescriptor.RateLimitOverride.DAY
        answers = [it.ask(own) for _ in range(11)]
        assert [answer.overall_code for answer in answers] == [OK] * 10 + [OVER]
        limits = {(a.statuses[0].current_limit.requests_per_unit, a.statuses[0].current_limit.unit) for a in answers}
        assert limits == {(10, Wire.DAY)}
        elsewhere = [it.ask(own, domain="elsewhere") for _ in range(11)]
        assert {answer.overall_code for answer in elsewhere} == {OK}
        assert not any(answer.statuses[0].HasField("current_limit") for answer in elsewhere)

    within_one(DAY, test)


def test_10_hits_are_added_whole(it: Served) -> None:
    def test() -> None:
        value = it.fresh()
        first = it.ask(descriptor(("ten", value)), hits=6)
        assert (first.overall_code, first.statuses[0].limit_remaining) == (OK, 4)
        assert it.ask(descriptor(("ten", value)), hits=6).overall_code == OVER

    within_one(MINUTE, test)


def test_11_no_hits_for_the_request_mean_one_and_none_for_a_descriptor_only_ask(it: Served) -> None:
    def test() -> None:
        value, other = it.fresh(), it.fresh()
        assert it.codes(descriptor(("one", value)), times=2) == [OK, OVER]
        assert it.codes(descriptor(("one", other), hits=0), times=3) == [OK, OK, OK]
        assert it.codes(descriptor(("one", other)), times=2) == [OK, OVER]
        assert it.codes(descriptor(("one", other), hits=1, refund=True), times=1) == [OK]
        assert it.codes(descriptor(("one", other)), times=2) == [OK, OVER]

    within_one(MINUTE, test)


def test_12_the_time_until_reset_runs_down(it: Served) -> None:
    def test() -> None:
        asked = descriptor(("to_number", it.fresh()))
        first = it.ask(asked).statuses[0].duration_until_reset.ToMicroseconds()
        last = [first]
        until(lambda: last.append(it.ask(asked).statuses[0].duration_until_reset.ToMicroseconds()) or last[-1] < first)
        assert 0 < last[-1] < first <= DAY * 1_000_000

    within_one(DAY, test)


def test_13_a_file_that_comes_and_goes_leaves_the_counters_of_the_others_alone(it: Served) -> None:
    def test() -> None:
        kept, new = descriptor(("two", it.fresh())), descriptor(("new", it.fresh()))
        added = it.folder / "added.yaml"
        assert it.codes(kept, times=1) == [OK]
        assert not it.ask(new, domain="added").statuses[0].HasField("current_limit")
        it.loaded(lambda: added.write_text(ADDED))
        limit = it.ask(new, domain="added").statuses[0].current_limit
        assert (limit.requests_per_unit, limit.unit) == (50, Wire.SECOND)
        it.loaded(added.unlink)
        assert not it.ask(new, domain="added").statuses[0].HasField("current_limit")
        assert it.codes(kept, times=2) == [OK, OVER]

    within_one(MINUTE, test)


def test_13_no_question_is_lost_or_counted_twice_while_files_are_read_again_and_again(it: Served) -> None:
    def test() -> None:
        mine, added, read = descriptor(("many", it.fresh())), it.folder / "added.yaml", "apibank_ratelimit_config_loads"
        before, left = it.metric(read + "_total", outcome="ok"), []
        for number in range(300):
            if number % 60 == 0:
                added.write_text(ADDED.replace("50", str(number + 1)))
            left.append(it.ask(mine).statuses[0].limit_remaining)
        assert left == [*range(9999, 9699, -1)]
        until(lambda: it.metric(read + "_total", outcome="ok") > before)
        it.loaded(added.unlink)

    within_one(HOUR, test)


def test_14_a_broken_file_leaves_the_rules_in_force_and_is_counted(it: Served) -> None:
    def test() -> None:
        broken = it.folder / "broken.yaml"
        counted = it.metric("apibank_ratelimit_config_loads_total", outcome="failed")
        it.loaded(lambda: broken.write_text(ADDED.replace("second", "fortnight")), outcome="failed")
        assert it.metric("apibank_ratelimit_config_loads_total", outcome="failed") == counted + 1
        assert it.codes(descriptor(("two", it.fresh())), times=3) == [OK, OK, OVER]
        assert it.process.poll() is None
        assert get(it.metrics_url + "/ready")[0] == 200
        it.loaded(broken.unlink)

    within_one(MINUTE, test)


WRONG = {
    "a bad unit": ("descriptors: [{key: a, rate_limit: {unit: fortnight, requests_per_unit: 1}}]", "unit"),
    "an empty key": ("descriptors: [{key: ''}]", "key"),
    "an empty domain": ("domain: ''", "domain"),
    "a second file for a domain": ("domain: cases", "domain"),
    "a pair twice": ("descriptors: [{key: a, value: b}, {key: a, value: b}]", "duplicate"),
    "a misspelt field": ("descriptors: [{key: a, ratelimit: {unit: day, requests_per_unit: 1}}]", "ratelimit"),
    "a key that is no text": ("descriptors: [{key: a, [x]: b}]", "key"),
    "a list of words": ("descriptors: [a, b]", "descriptors"),
    "unlimited, with a unit": ("descriptors: [{key: a, rate_limit: {unlimited: true, unit: day}}]", "unit"),
    "a rule that replaces itself": (
        "descriptors: [{key: a, rate_limit: {name: n, unit: day, replaces: [{name: n}]}}]",
        "replace itself",
    ),
    "a replacement of nothing": ("descriptors: [{key: a, rate_limit: {unit: day, replaces: [{name: ''}]}}]", "name"),
    "shared without a star": ("descriptors: [{key: a, value: b, share_threshold: true}]", "share_threshold"),
}


@pytest.mark.parametrize("what", WRONG)
def test_15_what_cannot_be_meant_is_refused_with_file_line_and_field(it: Served, what: str) -> None:
    text, field = WRONG[what]
    wrong = it.folder / "wrong.yaml"
    head = "" if text.startswith("domain") else "domain: wrong\n"
    it.loaded(lambda: wrong.write_text(head + text + "\n"), outcome="failed")
    log = (it.folder.parent / "log").read_text().splitlines()[-1]
    assert "config_refused" in log
    assert f"wrong.yaml:{2 if head else 1}" in log
    assert field in log
    it.loaded(wrong.unlink)


def test_16_a_rule_that_replaces_another_is_the_one_that_counts(it: Served) -> None:
    def test() -> None:
        banned, pardoned = descriptor(("banned", it.fresh())), descriptor(("pardoned", it.fresh()))
        assert it.codes(banned, times=1) == [OVER]
        assert it.codes(banned, pardoned, times=3) == [OK, OK, OVER]

    within_one(MINUTE, test)


@pytest.mark.parametrize("asked", [pb.RateLimitRequest(domain="cases"), pb.RateLimitRequest(domain="")])
def test_17_a_request_that_asks_nothing_is_an_error(it: Served, asked: pb.RateLimitRequest) -> None:
    if not asked.domain:
        asked.descriptors.append(descriptor(("one", "a")))
    with pytest.raises(grpc.RpcError) as raised:
        it.stub.ShouldRateLimit(asked, timeout=10)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_18_a_wildcard_limits_each_of_its_values_apart(it: Served) -> None:
    def test() -> None:
        mine = it.fresh()
        one, other = (descriptor(("wild", f"foo{mine}{n}")) for n in (1, 2))
        assert it.codes(one, times=21) == [OK] * 20 + [OVER]
        assert it.codes(other, times=1) == [OK]
        assert not it.ask(descriptor(("wild", "bar"))).statuses[0].HasField("current_limit")
        assert not it.ask(descriptor(("plain", "foo1"))).statuses[0].HasField("current_limit")

    within_one(MINUTE, test)


def test_19_headers_describe_the_tighter_limit_and_never_what_is_unmatched(it: Served) -> None:
    def test() -> None:
        tight, loose = descriptor(("ten", it.fresh())), descriptor(("hourly", it.fresh()))
        headers = headers_of(it.ask(descriptor(("nobody", "knows")), loose, tight))
        assert headers["RateLimit-Policy"] == '"hourly";q=100;w=3600, "ten";q=10;w=60'
        assert headers["RateLimit"].startswith('"ten";r=9;t=')
        assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("10", "9")
        assert 0 < int(headers["X-RateLimit-Reset"]) <= MINUTE
        assert headers_of(it.ask(descriptor(("nobody", "knows")))) == {}

    within_one(MINUTE, test)


def test_20_statuses_are_those_of_the_request_in_its_order(it: Served) -> None:
    value = it.fresh()
    names = ["none", "key3", "ten", "none", "key2"]
    answer = it.ask(*(descriptor((name, value)) for name in names))
    assert [status.current_limit.requests_per_unit for status in answer.statuses] == [0, 10, 10, 0, 20]
