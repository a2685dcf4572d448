"""A refusal that is put together of octets is, octet for octet, the one that protobuf and a JSON writer would make."""

import json
import re

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from authz.decision import Decision, FieldError, Refusal
from authz.denied import write_denied
from authz.encoding import varint
from authz.principal import NOBODY, Principal
from authz.problem import TYPE_PREFIX, problem_headers
from authz.reasons import ANSWERS, Reason
from protos import ext_authz_pb2 as pb
from tests.property.authz.test_answers import PRINCIPALS, RULES, TEXT

ROUTES = [None, *RULES.routes.values()]
# Where one is empty, protobuf leaves it out, which says the same.
HEADERS = st.lists(st.tuples(*[st.text(min_size=1, max_size=200)] * 2), max_size=3).map(tuple)
ERRORS = st.lists(st.builds(FieldError, TEXT, TEXT), max_size=3).map(tuple)
IDS = TEXT | st.from_regex(r"[A-Za-z0-9._-]{0,70}", fullmatch=True) | st.just("0c6a3f3e-8f7b-4c53-9d2b-6a5f0c9d1e11\n")
REFUSALS = st.builds(
    Refusal,
    st.sampled_from(Reason),
    cause=st.just("an inner matter"),
    detail=TEXT,
    errors=ERRORS,
    allow=TEXT,
    scope=TEXT,
    retry_after=st.integers(0, 2**40),
    named=st.just("") | TEXT,
)


def plain_body(refusal: Refusal, request_id: str) -> bytes:
    code = refusal.named or str(refusal.reason)
    problem: dict[str, object] = {
        "type": TYPE_PREFIX + code,
        "title": ANSWERS[refusal.reason].title,
        "status": refusal.status,
        "detail": refusal.detail or ANSWERS[refusal.reason].detail,
        "code": code,
        "request_id": request_id if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id) else "",
    }
    if refusal.errors:
        problem["errors"] = [{"pointer": each.pointer, "rule": each.rule} for each in refusal.errors]
    return orjson.dumps(problem)


def plainly(decision: Decision, refusal: Refusal, request_id: str) -> bytes:
    """The same answer, built field by field by protobuf itself."""
    message = pb.CheckResponse()
    message.status.code = {401: 16, 503: 14}.get(refusal.status, 7)
    message.denied_response.status.code = refusal.status
    message.denied_response.body = plain_body(refusal, request_id).decode()
    for name, value in problem_headers(decision, refusal):
        message.denied_response.headers.add(header=pb.HeaderValue(key=name, value=value))
    principal, route = decision.principal, decision.route
    known = {each: getattr(principal, each) for each in ("caller", "subject", "tenant", "role")}
    known |= {"tier": principal.counts_as or principal.tier, "outcome": "denied"}
    known["reason"] = refusal.named or str(refusal.reason)
    known |= {} if route is None else {"gateway": route.gateway, "route": route.name}
    message.dynamic_metadata.update({name: value for name, value in known.items() if value})
    return message.SerializeToString(deterministic=True)


@given(REFUSALS, PRINCIPALS, st.sampled_from(ROUTES), IDS, HEADERS)
@example(Refusal(Reason.TOKEN_INVALID, "signature"), NOBODY, RULES.routes["content"], "r-1", ())
@example(Refusal(Reason.RULE_REFUSED, detail='"\\\x00\u2028é' * 9), NOBODY, None, '","status":200,"x":"', ())
def test_a_refusal_is_the_one_that_protobuf_would_build(
    refusal: Refusal, principal: Principal, route: object, request_id: str, told: tuple[tuple[str, str], ...]
) -> None:
    decision = Decision(refusal, principal, route, told=told)  # type: ignore[arg-type]
    # Twice, since the second one is made of what was kept of the first.
    for _ in range(2):
        assert write_denied(decision, refusal, request_id) == plainly(decision, refusal, request_id)


@given(REFUSALS, REFUSALS, PRINCIPALS, IDS, IDS)
def test_what_is_kept_of_one_refusal_changes_no_other(
    one: Refusal, other: Refusal, principal: Principal, first: str, second: str
) -> None:
    route = RULES.routes["content"]
    for refusal, request_id in ((one, first), (other, second), (one, second)):
        decision = Decision(refusal, principal, route)
        assert write_denied(decision, refusal, request_id) == plainly(decision, refusal, request_id)


@given(REFUSALS, IDS)
def test_the_body_is_json_with_each_member_once_and_nothing_of_the_request_but_its_id(
    refusal: Refusal, request_id: str
) -> None:
    answer = pb.CheckResponse.FromString(write_denied(Decision(refusal, NOBODY), refusal, request_id))
    members = json.loads(answer.denied_response.body, object_pairs_hook=lambda pairs: pairs)
    names = ["type", "title", "status", "detail", "code", "request_id", *(["errors"] if refusal.errors else [])]
    assert [name for name, _ in members] == names
    assert dict(members)["request_id"] in {"", request_id}
    assert "inner matter" not in answer.denied_response.body


@given(st.integers(1, 15), st.integers(0, 2**31 - 1))
def test_a_number_is_encoded_in_groups_of_seven_bits(number: int, value: int) -> None:
    encoded = varint(number, value)
    assert encoded[0] == number << 3
    assert sum((group & 0x7F) << (7 * at) for at, group in enumerate(encoded[1:])) == value
    assert [group >> 7 for group in encoded[1:]] == [1] * (len(encoded) - 2) + [0]
    assert len(encoded) == 2 or encoded[-1] != 0
