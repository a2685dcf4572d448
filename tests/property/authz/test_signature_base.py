"""What nearly every agent signs is put together in one go, and is what RFC 9421 makes of it line by line."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from authz.identity.hmac_signature import MANDATORY, signature_base
from authz.identity.structured_fields import InnerList
from authz.request import Request
from tests.unit.authz.world import signed

TEXT = st.text("aZ09:/.!\n?&=%é ", max_size=12)
AUTHORITIES = st.sampled_from(["api.example.com", "API.Example.com:443", "api.example.com:80", "[::1]:443"]) | TEXT
PARAMETERS = st.lists(
    st.tuples(st.sampled_from(["created", "nonce", "keyid"]), TEXT | st.integers(0, 2**40)), max_size=3
)
REQUESTS = st.builds(
    replace,
    st.just(signed()),
    method=st.sampled_from(["GET", "POST", "P!ST"]),
    scheme=st.sampled_from(["https", "http", "HTTPS", ""]),
    authority=AUTHORITIES,
    path=TEXT,
    query=st.none() | TEXT,
    headers=st.just({}) | st.fixed_dictionaries({"content-digest": TEXT}),
    exact=st.booleans(),
)


def line_by_line(asked: Request, covered: InnerList) -> bytes | None:
    port = {"https": ":443", "http": ":80"}.get(asked.scheme.lower())
    authority = asked.authority.lower()
    values = {
        "@method": asked.method,
        "@authority": authority.removesuffix(port) if port else authority,
        "@path": asked.path,
        "@query": "?" + (asked.query or ""),
        "content-digest": asked.headers.get("content-digest"),
    }
    lines = []
    for name in covered.items:
        value = values[name]
        if value is None or "\n" in value or ("!" in value and not asked.exact):
            return None
        lines.append(f'"{name}": {value}')
    lines.append(f'"@signature-params": {covered.serialised()}')
    return "\n".join(lines).encode()


@given(REQUESTS, PARAMETERS, st.permutations(MANDATORY) | st.just(list(MANDATORY)))
@example(signed(), [("nonce", "n")], list(MANDATORY))
def test_the_base_is_the_same_in_whichever_way_it_is_made(
    asked: Request, parameters: list[tuple[str, str | int]], components: list[str]
) -> None:
    covered = InnerList(tuple(components), tuple(parameters))
    assert signature_base(asked, covered) == line_by_line(asked, covered)
