"""The record: complete, in order, without secrets, and never lost silently."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz import audit
from authz.audit import AuditEvent, JsonLinesSink, Pseudonyms, audit_event
from authz.decision import Decision, Refusal
from authz.principal import NOBODY, Kind, Principal
from authz.reasons import Reason
from tests.unit.authz.world import API_KEY, NOW, request, token

EVENT = audit_event(request(), Decision(None, NOBODY), NOW, Pseudonyms(b"k"))
CREDENTIAL = re.compile(r"waw_[a-z]+_sk_[0-9A-Za-z]*|ey[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]*")


def event(number: int) -> AuditEvent:
    return replace(EVENT, request_id=str(number))


def ids(written: list[bytes]) -> list[str]:
    return [json.loads(line)["request_id"] for line in b"".join(written).splitlines()]


def test_a_name_has_one_pseudonym_under_one_key_and_none_without_it() -> None:
    one, same, other = Pseudonyms(b"a"), Pseudonyms(b"a"), Pseudonyms(b"b")
    assert one.of("jane") == same.of("jane")
    assert one.of("jane") != other.of("jane")
    assert one.of("jane") != one.of("john")
    assert "jane" not in one.of("jane")
    assert one.of("") == ""
    assert Pseudonyms().of("jane") != Pseudonyms().of("jane")


@pytest.mark.attack("A58")
@pytest.mark.requirement("R95", "R106")
@pytest.mark.parametrize(
    "secret",
    [API_KEY, API_KEY.replace("_", "%5f"), token(), API_KEY.replace("live", "test"), API_KEY[:-3]],
    ids=["key", "key in the URL", "token", "test key", "most of a key"],
)
def test_no_credential_is_recorded_wherever_a_client_puts_it(secret: str) -> None:
    asked = request(path=f"/api/{secret}?key={secret}", headers={"user-agent": f"x {secret}"}, token=token())
    found = audit_event(asked, Decision(None, NOBODY), NOW, Pseudonyms())
    assert secret not in repr(found)
    assert "[redacted]" in found.path


@pytest.mark.attack("A75")
@pytest.mark.requirement("R106")
@pytest.mark.parametrize(
    "person",
    [
        *("ada@example.com", "Ada.Lovelace+x@mail.example.co.uk", "ада@пример.рф", "ada%40example.com"),
        *("%61da@example.com", "+4930901820", "+49 (30) 901-820", "%2B4930901820", "mailto:ada@example.com"),
    ],
)
def test_nobody_is_named_in_a_path_or_a_program(person: str) -> None:
    asked = request(path=f"/api/platform/users/{person}/keys", headers={"user-agent": f"bot (+{person})"})
    found = audit_event(asked, Decision(None, NOBODY), NOW, Pseudonyms())
    for text in (found.path, found.user_agent):
        assert person not in text
        assert "example.co" not in unquote_plus(text)
        assert "30901820" not in text
        assert "[redacted]" in text


@pytest.mark.parametrize(
    "path",
    [
        *("/api/platform/users/@me", "/npm/left-pad@1.3.0", "/orders/4930901820", "/a+b", "/1+2", "/2026-11-23+01"),
        *("/@scope/name", "/c++", "/eyes", "/v1.2.3+build.5"),
    ],
)
def test_what_names_nobody_stays_in_the_record(path: str) -> None:
    found = audit_event(request(path=path, headers={"user-agent": path}), Decision(None, NOBODY), NOW, Pseudonyms())
    assert (found.path, found.user_agent) == (path, path)


@pytest.mark.requirement("R106")
def test_a_tenant_or_a_token_that_bears_the_name_of_a_person_is_a_pseudonym() -> None:
    names = Pseudonyms(b"k")
    who = Principal(Kind.TOKEN, subject="u1", role="admin", tenant="ada@example.com", credential_id="ada@example.com/7")
    found = audit_event(request(), Decision(None, who), NOW, names)
    assert "ada" not in repr(found)
    assert found.tenant == names.of("ada@example.com")
    plain = Principal(Kind.TOKEN, subject="u1", role="admin", tenant="acme", credential_id="jti-7")
    assert (audit_event(request(), Decision(None, plain), NOW, names).tenant) == "acme"


def test_every_field_of_an_event_holds_what_its_name_says() -> None:
    who = Principal(
        Kind.KEY, subject="sub", role="role", tier="tier", tenant="tenant", partner="partner", agent="agent",
        credential_id="key-1", remark="remark",
    )  # fmt: skip
    asked = request(headers={"user-agent": "program", "x-request-id": "id", "x-waooaw-client-address": "10.1.2.3"})
    found = audit_event(asked, Decision(Refusal(Reason.TIER_UNKNOWN, "cause"), who), NOW, Pseudonyms())
    of_principal = {each: getattr(who, each) for each in ("subject", "role", "tier", "tenant", "partner", "agent")}
    of_request = {each: getattr(asked, each) for each in ("gateway", "policy", "listener", "route", "method", "path")}
    assert asdict(found) == of_principal | of_request | {
        "at": NOW,
        "request_id": "id",
        "address": "10.1.2.3",
        "user_agent": "program",
        "kind": "key",
        "credential_id": "key-1",
        "outcome": "denied",
        "reason": "tier_unknown",
        "status": 403,
        "cause": "remark",
    }
    allowed = audit_event(asked, Decision(None, who), NOW, Pseudonyms())
    assert (allowed.outcome, allowed.reason, allowed.status, allowed.cause) == ("allowed", "remark", 200, "remark")


def test_what_a_client_writes_is_bounded() -> None:
    found = audit_event(
        request(path="/" + "a" * 10_000, headers={"user-agent": "b" * 10_000, "x-request-id": "c" * 10_000}),
        Decision(None, NOBODY),
        NOW,
        Pseudonyms(),
    )
    assert len(repr(found)) < 2000


@pytest.mark.requirement("R95", "R106")
@pytest.mark.parametrize("cut", range(-30, 30))
@pytest.mark.parametrize(
    "secret", [API_KEY, token(), f"eyAAAAAAAA{API_KEY}", "".join(f"%{ord(c):02x}" for c in token())]
)
def test_a_credential_that_is_cut_in_half_is_not_recorded(secret: str, cut: int) -> None:
    # Two short texts of the mask's length bring what stands at the cut within what is kept.
    for limit in (200, 400):
        agent = f"{API_KEY} {'x' * (limit - len(API_KEY) - 1 - cut)}{secret}{'y' * 500}"
        found = audit_event(request(headers={"user-agent": agent}), Decision(None, NOBODY), NOW, Pseudonyms())
        shown = unquote_plus(found.user_agent)
        assert "_sk_" not in shown
        assert not re.search("ey[A-Za-z0-9_-]{8}", shown)


@given(st.text(st.sampled_from("eyaA0_-. /"), max_size=200) | st.text(max_size=50))
def test_no_text_that_is_recorded_looks_like_a_credential(text: str) -> None:
    asked = request(path=f"/{text}", headers={"user-agent": text})
    found = audit_event(asked, Decision(None, NOBODY), NOW, Pseudonyms())
    assert not CREDENTIAL.search(found.user_agent)
    assert not CREDENTIAL.search(found.path)


class Searches:
    """A pattern that remembers how much text it was given."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern = pattern
        self.lengths: list[int] = []

    def sub(self, replacement: Callable[[re.Match[str]], str], text: str) -> str:
        self.lengths.append(len(text))
        return self.pattern.sub(replacement, text)


@pytest.mark.parametrize("fragment", ["ey", "eyAAAAAAAA", "%65%79", f"{API_KEY} ", "waw_a_sk_"])
def test_of_a_hostile_text_only_a_beginning_is_looked_at(fragment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(audit._SUSPECT)
    monkeypatch.setattr(audit, "_SUSPECT", searches)
    text = fragment * (60_000 // len(fragment))
    asked = request(path=f"/{text}", headers={"user-agent": text})
    found = audit_event(asked, Decision(None, NOBODY), NOW, Pseudonyms())
    assert searches.lengths
    assert sum(searches.lengths) <= 4 * (512 + 200)
    assert "[redacted]" in found.user_agent


def test_events_are_written_as_lines_in_their_order() -> None:
    written: list[bytes] = []
    sink = JsonLinesSink(written.append)
    assert all(sink.offer(event(number)) for number in range(1000))
    sink.flush()
    assert ids(written) == [str(number) for number in range(1000)]


def test_a_line_holds_one_event_whatever_the_client_wrote() -> None:
    written: list[bytes] = []
    sink = JsonLinesSink(written.append)
    sink.offer(replace(EVENT, user_agent='a\nb"}\r\n{"forged": true}'))
    sink.flush()
    assert b"".join(written).count(b"\n") == 1


@pytest.mark.attack("A40")
@pytest.mark.parametrize(
    "end", ["\u0085", "\u2028", "\u2029", "\x1b[2K", "\x9b2K", "\v", "\f", "\x1c", "\u202e", "\x7f"]
)
def test_nothing_that_anybody_takes_for_a_line_end_or_a_command_reaches_the_stream(end: str) -> None:
    written: list[bytes] = []
    sink = JsonLinesSink(written.append)
    sink.offer(replace(EVENT, user_agent=f"a{end}{{}}", path=f"/{end}"))
    sink.flush()
    (line,) = written
    assert line.decode().splitlines() == [line.decode().rstrip("\n")]
    assert [each for each in line.decode()[:-1] if not each.isprintable()] == []
    assert json.loads(line)["user_agent"] == f"a{end}{{}}"


def test_a_full_queue_says_so() -> None:
    sink = JsonLinesSink(lambda _: None, capacity=2)
    assert [sink.offer(event(number)) for number in range(3)] == [True, True, False]
    sink.flush()
    assert sink.offer(event(3))


def test_what_could_not_be_written_is_written_later() -> None:
    written: list[bytes] = []
    full = True

    def write(lines: bytes) -> None:
        if full:
            raise OSError("disk full")
        written.append(lines)

    sink = JsonLinesSink(write)
    sink.offer(event(1))
    with pytest.raises(OSError, match="disk full"):
        sink.flush()
    full = False
    sink.offer(event(2))
    sink.flush()
    assert ids(written) == ["1", "2"]


async def test_the_writer_survives_a_full_disk_and_writes_the_rest_when_it_ends() -> None:
    written: list[bytes] = []
    failures = 2

    def write(lines: bytes) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise OSError("disk full")
        written.append(lines)

    sink = JsonLinesSink(write, interval=0.001)
    running = asyncio.create_task(sink.run())
    sink.offer(event(1))
    async with asyncio.timeout(5):
        while not written:
            await asyncio.sleep(0.001)
    sink.offer(event(2))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ids(written) == ["1", "2"]
