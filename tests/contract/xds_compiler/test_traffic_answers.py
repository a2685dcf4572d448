"""What a real Envoy makes of requests and answers: headers, paths, redirects, faults, limits, and its own answers."""

import http.client
import json
import urllib.request
from typing import Any

import pytest

from protos import rls_pb2
from tests.contract.xds_compiler.services import denied
from tests.contract.xds_compiler.test_requests import problem
from tests.contract.xds_compiler.traffic_services import Road

ORIGIN = {"origin": "https://app.test"}
PREFLIGHT = {"access-control-request-method": "POST"}
DEPRECATION = {"deprecation": "@1767225600", "sunset": "Thu, 31 Dec 2026 00:00:00 GMT"}
LINKS = (
    '<https://docs.test/changes>; rel="deprecation"; type="text/html", '
    '<https://docs.test/changes>; rel="sunset"; type="text/html"'
)


def judged(road: Road) -> str:
    """The path that authz was last asked about."""
    path: str = road.authz.asked[-1].attributes.request.http.path
    return path


@pytest.mark.requirement("R105")
def test_pages_may_call_the_route_that_says_so_and_no_other(road: Road) -> None:
    status, headers, _ = road.call("OPTIONS", "/cors", headers=ORIGIN | PREFLIGHT)
    assert (status, headers["access-control-allow-origin"]) == (200, ORIGIN["origin"])
    assert headers["access-control-allow-credentials"] == "true"
    assert not road.authz.asked
    for path, origin in (("/cors", "https://evil.test"), ("/cors", "null"), ("/plain", ORIGIN["origin"])):
        _, headers, _ = road.call("OPTIONS", path, headers={"origin": origin} | PREFLIGHT)
        assert "access-control-allow-origin" not in headers
        # Without CORS a preflight is a request like any other, and authorization says what becomes of it.
        assert len(road.authz.asked) == (1 if path == "/plain" else 0)
    assert [one["path"] for one in road.backends["blue"].seen] == ["/plain"]
    assert "access-control-allow-origin" not in road.call("GET", "/plain", headers=ORIGIN)[1]


def test_a_page_can_read_the_refusal_of_a_route_and_no_cache_mixes_origins(road: Road) -> None:
    road.authz.decide = lambda request: denied(401, "{}")
    status, headers, _ = road.call("GET", "/cors", headers=ORIGIN)
    assert (status, headers["access-control-allow-origin"], headers["vary"]) == (401, ORIGIN["origin"], "origin")
    assert "vary" not in road.call("GET", "/plain")[1]


def test_headers_change_as_they_are_written_and_authz_sees_the_client_s(road: Road) -> None:
    sent = {"x-mode": "theirs", "x-tag": "theirs", "x-debug": "1", "cookie": "a=b", "authorization": "secret"}
    _, headers, _ = road.call("GET", "/headers", headers=sent)
    service = road.seen()
    # No command operator of Envoy's comes out of a policy, least of all one that copies a credential.
    assert service["headers"]["x-mode"] == "%REQ(authorization)% 100%"
    assert [value for name, value in service["pairs"] if name == "x-tag"] == ["theirs", "ours"]
    assert not {"x-debug", "cookie"} & service["headers"].keys()
    asked = road.authz.asked[-1].attributes.request.http.headers
    assert {name: asked[name] for name in sent} == sent
    assert (headers["x-frame-options"], headers["x-tag"]) == ("%HOSTNAME%", "50%")
    assert "x-powered-by" not in headers


def test_the_headers_of_a_route_are_on_its_refusals_too(road: Road) -> None:
    road.authz.decide = lambda request: denied(403, "{}")
    assert road.call("GET", "/headers")[1]["x-frame-options"] == "%HOSTNAME%"
    assert "x-frame-options" not in road.call("GET", "/plain")[1]


@pytest.mark.parametrize(
    ("path", "status", "location"),
    [
        ("/redirect/x/y?a=b", 308, "https://new.test/new/x/y?a=b"),
        ("/redirect/one?a=b", 303, "http://new.test:8443/one"),
        ("/redirect/same/x?next=//evil.test", 307, "http://gateway.test/plain/x?next=//evil.test"),
        ("/redirect//evil.test/x", 308, "https://new.test/new/evil.test/x"),
    ],
)
def test_a_redirect_leads_where_its_route_says(road: Road, path: str, status: int, location: str) -> None:
    answer = road.call("GET", path, headers={"host": "gateway.test"})
    assert (answer[0], answer[1]["location"], answer[2]) == (status, location, b"")
    assert not any(backend.seen for backend in road.backends.values())


def test_a_redirect_of_a_route_for_callers_asks_who_is_calling(road: Road) -> None:
    road.authz.decide = lambda request: denied(401, "{}")
    status, headers, _ = road.call("GET", "/redirect/x")
    assert (status, "location" in headers) == (401, False)
    assert road.authz.asked[-1].attributes.context_extensions["route"] == "redirect"


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("/prefix/x?q=1", "/other/x?q=1"),
        ("/prefix", "/other"),
        ("/prefix.off", "/"),
        ("/prefix.off/x/y", "/x/y"),
        # The dot is a dot: this is another path, of the route below.
        ("/prefix-off/x", "/below/prefix-off/x"),
        ("/x", "/below/x"),
        ("/", "/below/"),
        ("/exact", "/exactly"),
        ("/exact/x", "/below/exact/x"),
        ("/path/a/b?q=1", "/one?q=1"),
        ("/regex/a/b/c?q=1", "/v2/b/a/c?q=1"),
        ("/regex/a", "/regex/a"),
        ("/regex/x/%2e%2e/y", "/regex/y"),
    ],
)
def test_the_service_sees_the_new_path_and_authz_the_one_that_was_asked(road: Road, asked: str, served: str) -> None:
    assert road.call("GET", asked)[0] == 200
    assert road.seen()["path"] == served
    assert judged(road) == asked.replace("/x/%2e%2e", "")
    assert "x-envoy-original-path" not in road.seen()["headers"]


@pytest.mark.parametrize("path", ["/regex/%2e%2e%2fa/b", "/regex/a/..%5cb", "/prefix/..%2f..%2fplain"])
def test_no_rewrite_takes_an_ambiguous_path(road: Road, path: str) -> None:
    assert road.call("GET", path)[0] == 400
    assert not road.backends["blue"].seen


def test_the_service_sees_the_host_that_its_route_says(road: Road) -> None:
    road.call("GET", "/prefix", headers={"host": "gateway.test"})
    assert road.seen()["headers"]["host"] == "other.test"


def test_a_fault_is_a_route_s_and_never_a_header_s(road: Road) -> None:
    answer = road.call("GET", "/abort")
    assert problem(*answer)["code"] == "bad_gateway"
    assert not road.backends["blue"].seen
    asked = {
        "x-envoy-fault-abort-request": "503",
        "x-envoy-fault-abort-request-percentage": "100",
        "x-envoy-fault-delay-request": "5000",
    }
    for path in ("/plain", "/delay"):
        assert road.call("GET", path, headers=asked)[0] == 200


def test_a_fault_is_for_those_who_may_call(road: Road) -> None:
    road.authz.decide = lambda request: denied(401, "{}")
    assert road.call("GET", "/abort")[0] == 401


def test_a_delay_is_a_delay(road: Road) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", road.port, timeout=0.2)
    try:
        connection.request("GET", "/delay")
        with pytest.raises(TimeoutError):
            connection.getresponse()
    finally:
        connection.close()
    assert road.call("GET", "/delay")[0] == 200


def test_beyond_its_local_limit_a_route_is_429_and_refused_callers_use_up_nothing(road: Road) -> None:
    road.authz.decide = lambda request: denied(401, "{}")
    assert {road.call("GET", "/limit")[0] for _ in range(10)} == {401}
    road.authz.decide = type(road.authz)().decide
    spellings = ("/limit", "//limit", "/%6Cimit", "/limit/", "/x/../limit?a=b", "/limit/../limit/x")
    answers = [road.call("GET", path, headers={"x-forwarded-for": "192.0.2.1"}) for path in spellings * 2]
    refused = [answer for answer in answers if answer[0] == 429]
    assert 3 <= len(road.backends["blue"].seen) < 12
    assert problem(*refused[0])["code"] == "rate_limited"
    assert refused[0][1]["retry-after"] == "1"
    # The bucket is the route's own.
    assert road.call("GET", "/plain")[0] == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_maintenance_is_answered_without_asking_anybody(road: Road, method: str) -> None:
    answer = road.call(method, "/maintenance/x")
    assert answer[0] == 503
    document = problem(*answer)
    assert document["code"] == "maintenance"
    assert document["detail"] == 'Back at "noon", 100% %REQ(x)%'
    assert answer[1]["retry-after"] == "120"
    assert not road.authz.asked
    assert not road.backends["blue"].seen


@pytest.mark.requirement("R112")
def test_every_answer_of_a_deprecated_route_says_so(road: Road) -> None:
    _, headers, _ = road.call("GET", "/deprecated")
    assert {name: headers[name] for name in DEPRECATION} == DEPRECATION
    assert headers["link"] == f'</next>; rel="next", {LINKS}'
    assert "deprecation" not in road.call("GET", "/plain")[1]
    road.authz.decide = lambda request: denied(401, "{}")
    assert road.call("GET", "/deprecated")[1].items() >= {**DEPRECATION, "link": LINKS}.items()


def test_a_caller_beyond_its_limit_is_told_of_the_deprecation(road: Road) -> None:
    over: Any = rls_pb2.RateLimitResponse(overall_code=rls_pb2.RateLimitResponse.OVER_LIMIT)
    road.ratelimit.answer = over
    try:
        status, headers, _ = road.call("GET", "/limited-and-deprecated")
    finally:
        road.ratelimit.answer = type(road.ratelimit)().answer
    assert (status, headers["deprecation"]) == (429, DEPRECATION["deprecation"])


@pytest.mark.requirement("R112")
def test_what_is_removed_is_410_for_everybody(road: Road) -> None:
    answer = road.call("GET", "/removed/x")
    assert answer[0] == 410
    document = problem(*answer)
    assert document["code"] == "gone"
    assert "https://docs.test/changes" in document["detail"]
    assert answer[1]["deprecation"] == DEPRECATION["deprecation"]
    assert not road.authz.asked


def test_nothing_of_this_is_warned_of(road: Road) -> None:
    with urllib.request.urlopen(f"{road.admin}/stats?filter=deprecated_feature_use", timeout=5) as answer:
        assert b"runtime.deprecated_feature_use: 0" in answer.read()
    assert json.loads(road.call("GET", "/plain")[2])["by"] == "blue"
