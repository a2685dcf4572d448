"""What becomes of one request that goes on for long, is tried again or is copied: it is counted once."""

import http.client
from typing import Any

from protos import rls_pb2
from tests.contract.xds_compiler.test_traffic_upgrades import asked
from tests.contract.xds_compiler.traffic_services import Road

ONCE = [[("limit", "all")]]


def counted(road: Road) -> list[list[tuple[str, str]]]:
    """The descriptors of each request that the rate-limit service was asked about."""
    return [
        [(entry.key, entry.value) for descriptor in one.descriptors for entry in descriptor.entries]
        for one in road.ratelimit.asked
    ]


def test_a_connection_that_is_upgraded_is_counted_once_whatever_goes_over_it(road: Road) -> None:
    with asked(road, "/limited/socket") as (status, connection):
        assert status == 101
        for line in (b"one\n", b"two\n", b"three\n"):
            connection.sendall(line)
            assert connection.recv(100) == line
    assert counted(road) == ONCE


def test_an_upgrade_that_a_limit_refuses_reaches_no_service(road: Road) -> None:
    before: Any = road.ratelimit.answer
    road.ratelimit.answer = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OVER_LIMIT)
    try:
        with asked(road, "/limited/socket") as (status, _):
            assert status == 429
    finally:
        road.ratelimit.answer = before
    assert not road.backends["blue"].seen


def test_a_stream_of_events_is_counted_once(road: Road) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", road.port, timeout=10)
    connection.request("GET", "/limited/socket?events=5&every=20")
    assert connection.getresponse().read().count(b"data:") == 5
    connection.close()
    assert counted(road) == ONCE


def test_what_is_tried_again_is_counted_once(road: Road) -> None:
    assert road.call("GET", "/limited/retries?fail=2&id=counted-once")[0] == 200
    assert len(road.backends["blue"].seen) == 3
    assert counted(road) == ONCE


def test_a_copy_is_not_counted(road: Road) -> None:
    assert road.call("GET", "/limited/copies")[0] == 200
    road.seen("shadow")
    assert counted(road) == ONCE
