"""What is encoded by hand is what protobuf would have written, whoever the caller is."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from authz.encoding import delimited
from authz.principal import NOBODY, Kind, Principal
from authz.wire import write_allowed
from policy.descriptors import IDENTITY_HEADERS
from protos import ext_authz_pb2 as pb
from tests.unit.authz.world import rules

RULES = rules()
FORWARDING = rules(credentials="forward")
CREDENTIALS = ("authorization", "cookie", "proxy-authorization", "signature", "signature-input", "x-api-key")
TEXT = st.text(max_size=300)
PRINCIPALS = st.just(NOBODY) | st.builds(
    Principal,
    st.sampled_from(Kind),
    subject=TEXT,
    role=TEXT,
    tier=TEXT,
    scopes=st.frozensets(st.text(max_size=80), max_size=8),
    tenant=TEXT,
    partner=TEXT,
    agent=TEXT,
    counts_as=TEXT,
    address=TEXT,
)


def plainly(principal: Principal, name: str, strips: bool, spoofed: list[str]) -> pb.CheckResponse:
    """The same answer, built field by field by protobuf itself."""
    scopes = " ".join(sorted(principal.scopes))
    texts = (principal.subject, principal.tenant, principal.role, principal.tier, scopes)
    identity = dict(zip(IDENTITY_HEADERS, (*texts, principal.agent, principal.partner), strict=True))
    if principal.kind is Kind.ANONYMOUS:
        identity = dict.fromkeys(identity, "")
    message = pb.CheckResponse()
    for header, value in identity.items():
        if value:
            message.ok_response.headers.add(header=pb.HeaderValue(key=header, value=value))
    removed = [header for header, value in identity.items() if not value]
    removed += [*(CREDENTIALS if strips else ()), *(each for each in spoofed if each not in identity)]
    message.ok_response.headers_to_remove.extend(removed)
    known = {"gateway": "marketing", "route": name, "outcome": "allowed", "caller": principal.caller}
    known |= {each: getattr(principal, each) for each in ("subject", "tenant", "role")}
    known["tier"] = principal.counts_as or principal.tier
    message.dynamic_metadata.update({each: value for each, value in known.items() if value})
    return message


@given(PRINCIPALS, st.sampled_from(sorted(RULES.routes)), st.booleans(), st.lists(TEXT, max_size=3))
@example(NOBODY, "content", True, ["x-waooaw-subject", "x-user-id"])
def test_an_allowed_answer_is_the_one_that_protobuf_would_build(
    principal: Principal, name: str, strips: bool, spoofed: list[str]
) -> None:
    route = replace((RULES if strips else FORWARDING).routes[name])
    found = pb.CheckResponse.FromString(write_allowed(principal, route, spoofed))
    assert found == plainly(principal, name, strips, spoofed)


@given(st.integers(1, 15), st.binary(max_size=400) | st.sampled_from([127, 128, 16_383, 16_384, 70_000]).map(bytes))
def test_a_field_is_read_back_as_it_was_written(number: int, octets: bytes) -> None:
    encoded = delimited(number, octets)
    length = len(encoded) - len(octets)
    assert encoded[length:] == octets
    assert encoded[0] == number << 3 | 2
    groups = encoded[1:length]
    assert sum((group & 0x7F) << (7 * at) for at, group in enumerate(groups)) == len(octets)
    assert [group >> 7 for group in groups] == [1] * (len(groups) - 1) + [0]
