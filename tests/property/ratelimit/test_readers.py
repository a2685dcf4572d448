"""Whatever comes as a file, a message or JSON is read, or refused by the one way of refusing it."""

import contextlib

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from policy.problem import PolicyError, Source
from protos import rls_pb2 as pb
from ratelimit.config_files import FileOptions, load_rules
from ratelimit.listing import listed
from ratelimit.matching import plan
from ratelimit.store import Outcome
from ratelimit.wire import AnswerWriter, UnreadableRequestError, answer_as_json, read_request, request_of_json

FIELDS = ["key", "value", "rate_limit", "descriptors", "unit", "requests_per_unit", "unlimited", "name", "replaces"]
MORE = ["shadow_mode", "quota_mode", "share_threshold", "detailed_metric", "value_to_metric", "metadata", "domain", "x"]
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2**33),
    st.floats(),
    st.sampled_from(["", "a", "a*", "*", "minute", "DAY", "007", "yes"]),
    st.text(max_size=5),
)
trees = st.recursive(
    leaves,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(FIELDS + MORE), below, max_size=5),
    max_leaves=20,
)
limits = st.fixed_dictionaries(
    {"unit": st.sampled_from(["second", "Day", "year"]), "requests_per_unit": st.integers(0, 9)},
    optional={"name": st.sampled_from(["n", "m"]), "replaces": st.just([{"name": "o"}])},
)
descriptors = st.recursive(
    st.fixed_dictionaries(
        {"key": st.sampled_from(["a", "b"])},
        optional={"value": st.sampled_from(["", "x", "x*", "*y*"]), "rate_limit": limits, "quota_mode": st.booleans()},
    ),
    lambda below: st.builds(
        lambda one, more: {**one, "descriptors": more},
        st.fixed_dictionaries({"key": st.sampled_from(["a", "b"])}),
        st.lists(below, max_size=3),
    ),
    max_leaves=8,
)
entries = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "x", "xx", "y"])), max_size=3)


@given(trees | st.fixed_dictionaries({"domain": st.just("d"), "descriptors": st.lists(trees, max_size=3)}))
def test_a_file_is_read_or_refused(tree: object) -> None:
    with contextlib.suppress(PolicyError):
        load_rules([Source("file.yaml", yaml.safe_dump(tree, allow_unicode=True))])


@given(st.text())
@example("\x00")
@example("domain: d\ndescriptors: [{key: a, value: 0x")
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(PolicyError):
        load_rules([Source("file.yaml", text)])


@given(st.lists(descriptors, max_size=4), st.lists(entries, min_size=1, max_size=3), st.booleans(), st.data())
def test_what_files_allow_can_be_asked_answered_and_shown(
    tree: list[object], asked: list[list[tuple[str, str]]], shadow: bool, data: st.DataObject
) -> None:
    try:
        text = yaml.safe_dump({"domain": "d", "descriptors": tree})
        rules = load_rules([Source("file.yaml", text)], FileOptions(shadow=shadow))
    except PolicyError:
        return
    assert listed(rules).count("\n") == text.count("rate_limit:")
    request = pb.RateLimitRequest(domain="d")
    for one in asked:
        request.descriptors.add(entries=[pb.RateLimitDescriptor.Entry(key=key, value=value) for key, value in one])
    planned = plan(read_request(request.SerializeToString()), rules)
    passed = [data.draw(st.booleans()) for _ in planned.limited]
    readings = [(True, 1, 0, 5) if each else (False, 0, 5, 5) for each in passed]
    admitted = all(each or not charge.enforced for each, charge in zip(passed, planned.charges, strict=True))
    outcome = planned.settled(Outcome(admitted, readings))
    admits, text = answer_as_json(AnswerWriter(planned).write(outcome))
    assert admits == outcome.admitted
    assert text.count('"code"') == len(asked)
    if shadow:
        assert admits


@given(st.binary(max_size=200))
def test_a_message_is_a_question_or_is_refused(raw: bytes) -> None:
    with contextlib.suppress(UnreadableRequestError):
        read_request(raw)


@given(st.binary(max_size=200) | st.builds(str.encode, st.text()))
@example(b'{"domain": "d", "descriptors": [{"hitsAddend": "-1"}]}')
@example(b'{"descriptors": ' + b"[" * 20_000)
@example(b'{"domain": "\\ud800"}')
def test_json_is_a_question_or_is_refused(text: bytes) -> None:
    with contextlib.suppress(UnreadableRequestError):
        request_of_json(text)
