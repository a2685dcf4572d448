"""The record: complete, in order, without secrets, and never lost silently."""

import asyncio
import json
from dataclasses import replace

import pytest

from authz.audit import AuditEvent, JsonLinesSink, Pseudonyms, audit_event
from authz.decision import Decision
from authz.principal import NOBODY
from tests.unit.authz.world import API_KEY, NOW, request, token

EVENT = audit_event(request(), Decision(None, NOBODY), NOW, Pseudonyms(b"k"))


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


def test_what_a_client_writes_is_bounded() -> None:
    found = audit_event(
        request(path="/" + "a" * 10_000, headers={"user-agent": "b" * 10_000, "x-request-id": "c" * 10_000}),
        Decision(None, NOBODY),
        NOW,
        Pseudonyms(),
    )
    assert len(repr(found)) < 2000


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
