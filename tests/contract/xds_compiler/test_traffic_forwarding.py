"""Where a real Envoy sends requests, how often, and how long it waits."""

import http.client
import json
import time

import pytest

from tests.contract.xds_compiler.services import denied
from tests.contract.xds_compiler.test_requests import BODY, problem
from tests.contract.xds_compiler.traffic_services import Road

CREDENTIALS = {
    "authorization": "Bearer t",
    "cookie": "session=1",
    "x-api-key": "k",
    "signature": "sig=:AA==:",
    "signature-input": "sig=()",
}


def by(road: Road, path: str, times: int) -> list[str]:
    return [json.loads(road.call("GET", path)[2])["by"] for _ in range(times)]


@pytest.mark.requirement("R113")
def test_a_split_sends_each_service_its_share(road: Road) -> None:
    assert set(by(road, "/split", 40)) == {"blue", "green"}
    assert set(by(road, "/blue-green", 20)) == {"green"}


def test_an_idempotent_request_is_tried_again_and_another_is_not(road: Road) -> None:
    assert road.call("GET", "/retries?fail=2&id=get")[0] == 200
    assert len(road.backends["blue"].seen) == 3
    road.forget()
    assert road.call("POST", "/retries?fail=2&id=post", body=BODY)[0] == 503
    assert len(road.backends["blue"].seen) == 1


def test_a_method_is_tried_again_where_a_route_says_so_with_its_whole_body(road: Road) -> None:
    # More than a connection's buffer, less than the longest body of the route.
    status, _, body = road.call("POST", "/retried-posts?fail=2&id=long", body=b"x" * 60_000)
    assert status == 200
    assert json.loads(body)["length"] == 60_000
    assert [one["length"] for one in road.backends["blue"].seen] == [60_000] * 3
    road.forget()
    assert road.call("GET", "/retried-posts?fail=2&id=unlisted")[0] == 503
    assert len(road.backends["blue"].seen) == 1


def test_each_try_has_a_time_of_its_own(road: Road) -> None:
    answer = road.call("GET", "/impatient?sleep=1000")
    assert problem(*answer)["code"] == "upstream_timeout"
    assert len(road.backends["blue"].seen) == 2


def test_another_try_goes_to_another_host(road: Road) -> None:
    assert {road.call("GET", "/elsewhere")[0] for _ in range(10)} == {200}


@pytest.mark.parametrize("path", ["/hasty", "/idle"])
def test_a_service_that_is_silent_for_too_long_is_504(road: Road, path: str) -> None:
    answer = road.call("GET", f"{path}?sleep=800")
    assert answer[0] == 504
    assert problem(*answer)["code"] == "upstream_timeout"


def test_an_answer_streams_for_longer_than_any_time_out_of_the_whole(road: Road) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", road.port, timeout=10)
    try:
        connection.request("GET", "/stream?events=5&every=200")
        answer = connection.getresponse()
        # The first event is here long before the last is sent.
        assert answer.read1(100) == b"data: 0\n\n"
        assert answer.read() == b"data: 1\n\ndata: 2\n\ndata: 3\n\ndata: 4\n\n"
    finally:
        connection.close()


@pytest.mark.parametrize("query", ["events=3&every=1500", "events=100&every=200"], ids=["idle", "too long"])
def test_a_stream_has_bounds_of_its_own(road: Road, query: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", road.port, timeout=10)
    try:
        connection.request("GET", f"/stream?{query}")
        answer = connection.getresponse()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
    finally:
        connection.close()


def test_a_stream_that_never_begins_ends_too(road: Road) -> None:
    assert road.call("GET", "/stream?sleep=1500")[0] in {408, 504}


@pytest.mark.parametrize("path", ["/mirror", "/mirror/all"])
def test_a_copy_has_credentials_only_where_a_route_says_so(road: Road, path: str) -> None:
    status, _, body = road.call("POST", path, body=BODY, headers=CREDENTIALS)
    assert status == 200
    assert json.loads(body)["by"] == "blue"
    copy = road.seen("shadow")
    assert (copy["path"], copy["length"]) == (path, len(BODY))
    assert set(CREDENTIALS) <= road.seen("blue")["headers"].keys()
    copied = set(CREDENTIALS) & copy["headers"].keys()
    assert copied == (set(CREDENTIALS) if path == "/mirror/all" else set())


def test_what_is_refused_is_not_copied(road: Road) -> None:
    road.authz.decide = lambda request: denied(403, "{}")
    assert road.call("GET", "/mirror")[0] == 403
    time.sleep(0.2)
    assert not road.backends["shadow"].seen


def test_a_copy_that_reaches_nobody_harms_nobody(road: Road) -> None:
    assert road.call("GET", "/mirror/lost")[0] == 200
