"""What a route may say about its traffic, and what is refused because it cannot be meant or is not safe."""

from typing import Any

import pytest

from policy.model import Gateway, Route
from policy.traffic import Deprecation, Maintenance, Retries
from tests.unit.policy.test_model import load, refusals


def change(**fields: Any) -> Any:
    """Gives the route `seo` these fields; None takes one away."""

    def apply(policy: dict[str, Any]) -> None:
        route = policy["routes"]["seo"]
        for name, value in fields.items():
            if value is None:
                route.pop(name)
            else:
                route[name] = value

    return apply


def route(**fields: Any) -> Route:
    gateway: Gateway = load(change=change(**fields))
    return gateway.routes["seo"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"upstream": None}, "one of upstream, split and redirect"),
        ({"split": {"marketing-agents": 1}}, "one of upstream, split and redirect"),
        ({"redirect": {"host": "new.test"}}, "one of upstream, split and redirect"),
        ({"upstream": None, "split": {"marketing-agents": 0}}, "not all 0"),
        ({"upstream": None, "redirect": {}}, "host, path, prefix, https or port"),
        ({"upstream": None, "redirect": {"path": "/a", "prefix": "/b"}}, "path or prefix, not both"),
        ({"upstream": None, "redirect": {"https": True}, "limits": ["requests"]}, "redirect has no limits"),
        ({"upstream": None, "redirect": {"https": True}, "retries": {}}, "redirect has no retries"),
        ({"upstream": None, "redirect": {"https": True}, "timeout_ms": 5}, "redirect has no timeout_ms"),
        (
            {"upstream": None, "redirect": {"https": True}, "headers": {"request": {"set": {"x-a": "b"}}}},
            "redirect has no headers.request",
        ),
        ({"streaming": {}, "timeout_ms": 5}, "streaming and timeout_ms exclude each other"),
        ({"streaming": {}, "idle_timeout_ms": 5}, "an idle_timeout_ms of its own"),
        ({"streaming": {}, "retries": {"per_try_timeout_ms": 5}}, "would end a stream"),
        ({"retries": {"per_try_timeout_ms": 6}, "timeout_ms": 5}, "at most timeout_ms"),
        ({"retries": {"back_off_ms": 300}}, "max_back_off_ms is at least back_off_ms"),
        ({"upgrades": ["websocket"]}, "upgrades need streaming"),
        (
            {"upgrades": ["websocket"], "streaming": {}, "mirror": [{"upstream": "marketing-agents"}]},
            "cannot be mirrored",
        ),
        ({"upgrades": ["websocket"], "streaming": {}, "body": {"POST": "seo-request"}}, "bodies are checked"),
        ({"upgrades": ["websocket"], "streaming": {}, "methods": {"POST": "write"}}, "GET is not admitted"),
        ({"rewrite": {}}, "prefix, path, regex with substitution, or host"),
        ({"rewrite": {"prefix": "/a", "path": "/b"}}, "one of prefix, path"),
        ({"rewrite": {"regex": "^/a$"}}, "go together"),
        ({"fault": {}}, "delay_ms or abort_status"),
        ({"fault": {"delay_ms": 1, "abort_percent": 1}}, "abort_percent is of nothing"),
        ({"headers": {}}, "request or response"),
        ({"deprecation": {"since": "2026-02-01", "sunset": "2026-01-01"}}, "sunset is not before since"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict[str, Any], said: str) -> None:
    found = refusals(change(**fields))
    assert any(said in message for path, message in found.items() if path.startswith("routes.seo")), found


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"upstream": None, "split": {"gone": 1}}, "routes.seo.split.gone"),
        ({"mirror": [{"upstream": "gone"}]}, "routes.seo.mirror[0].upstream"),
        ({"retries": {"methods": ["PUT"]}}, "routes.seo.retries.methods"),
        ({"retries": {"per_try_timeout_ms": 3_000_000}}, "routes.seo.retries.per_try_timeout_ms"),
        ({"upstream": None, "split": {"marketing-agents": -1}}, "routes.seo.split.marketing-agents"),
        ({"upstream": None, "split": {}}, "routes.seo.split"),
        ({"upstream": None, "redirect": {"host": "evil.test/x"}}, "routes.seo.redirect.host"),
        ({"upstream": None, "redirect": {"host": "a\r\nb"}}, "routes.seo.redirect.host"),
        ({"upstream": None, "redirect": {"path": "//evil.test"}}, "routes.seo.redirect.path"),
        ({"upstream": None, "redirect": {"https": True, "status": 200}}, "routes.seo.redirect.status"),
        ({"upgrades": ["h2c"], "streaming": {}}, "routes.seo.upgrades[0]"),
        ({"retries": {"retry_on": ["anything"]}}, "routes.seo.retries.retry_on[0]"),
        ({"retries": {"retry_on": []}}, "routes.seo.retries.retry_on"),
        ({"retries": {"attempts": 11}}, "routes.seo.retries.attempts"),
        ({"mirror": [{"upstream": "marketing-agents", "percent": 0}]}, "routes.seo.mirror[0].percent"),
        ({"mirror": [{"upstream": "marketing-agents", "percent": 101}]}, "routes.seo.mirror[0].percent"),
        ({"fault": {"abort_status": 200}}, "routes.seo.fault.abort_status"),
        ({"fault": {"delay_ms": 1, "header_controlled": True}}, "routes.seo.fault.header_controlled"),
        ({"local_limit": {"requests_per_second": 0}}, "routes.seo.local_limit.requests_per_second"),
        ({"maintenance": {}}, "routes.seo.maintenance.message"),
        ({"deprecation": {"since": 1}}, "routes.seo.deprecation.since"),
        ({"deprecation": {"since": "01.02.2026"}}, "routes.seo.deprecation.since"),
        ({"deprecation": {"since": "2026-01-01", "link": "https://a/>;x"}}, "routes.seo.deprecation.link"),
        ({"deprecation": {"since": "2026-01-01", "link": "http://a/"}}, "routes.seo.deprecation.link"),
        ({"cors": {"origins": ["*"]}}, "routes.seo.cors.origins[0]"),
        ({"rewrite": {"path": "/a/../b"}}, "routes.seo.rewrite.path"),
        ({"rewrite": {"host": "a b"}}, "routes.seo.rewrite.host"),
        ({"lint_exceptions": {"AB1": "because it is meant"}}, "routes.seo.lint_exceptions"),
        ({"lint_exceptions": {"AB101": "why"}}, "routes.seo.lint_exceptions.AB101"),
    ],
)
def test_what_is_wrong_is_named_at_its_place(fields: dict[str, Any], path: str) -> None:
    found = refusals(change(**fields))
    assert any(one.startswith(path) for one in found), found


RESERVED = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "upgrade",
    "te",
    "x-envoy-retry-on",
    "x-waooaw-tenant",
    "x-user-id",
    "x-request-id",
]


@pytest.mark.parametrize("name", [*RESERVED, "x-forwarded-for", "x-forwarded-client-cert", "x-real-ip", "traceparent"])
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_no_route_changes_who_a_request_is_from_or_where_it_ends(name: str, how: str) -> None:
    changed = [name] if how == "remove" else {name: "x"}
    assert refusals(change(headers={"request": {how: changed}}))


OF_ANSWERS = ["access-control-allow-origin", "strict-transport-security", "vary", "ratelimit", "ratelimit-policy"]
OF_ANSWERS += ["x-ratelimit-limit", "retry-after", "allow", "location", "keep-alive", "trailer"]


@pytest.mark.parametrize("name", [*RESERVED, *OF_ANSWERS])
@pytest.mark.parametrize("how", ["set", "add", "remove"])
def test_no_route_changes_what_other_parts_of_a_policy_answer(name: str, how: str) -> None:
    changed = [name] if how == "remove" else {name: "x"}
    assert refusals(change(headers={"response": {how: changed}}))


@pytest.mark.parametrize("name", ["authorization", "cookie", "x-api-key", "signature"])
def test_a_credential_may_be_kept_from_a_service_and_never_given_to_it(name: str) -> None:
    assert route(headers={"request": {"remove": [name]}}).headers is not None
    for how in ("set", "add"):
        assert refusals(change(headers={"request": {how: {name: "x"}}}))


@pytest.mark.parametrize("value", ["a\r\nx-user-id: eve", "a\nb", "a\x00", " a", "a ", "", "é", "x" * 1025])
def test_a_header_s_value_cannot_begin_another(value: str) -> None:
    for side in ("request", "response"):
        assert refusals(change(headers={side: {"set": {"x-a": value}}}))


@pytest.mark.parametrize("name", [":path", "X-Upper", "x_under", "x a", "", "x-a\r\n"])
def test_a_header_s_name_is_a_plain_name(name: str) -> None:
    assert refusals(change(headers={"request": {"set": {name: "x"}}}))


def test_a_header_is_changed_once_and_few_are() -> None:
    assert refusals(change(headers={"request": {"set": {"x-a": "1"}, "remove": ["x-a"]}}))
    assert refusals(change(headers={"request": {"set": {f"x-{number}": "1" for number in range(21)}}}))


def test_a_policy_that_says_nothing_new_has_no_traffic() -> None:
    assert route().traffic is None
    assert route(mirror=[]).traffic is None
    assert route(timeout_ms=5).traffic is None


def test_equal_traffic_has_equal_text() -> None:
    first = route(headers={"request": {"set": {"x-a": "1", "x-b": "2"}}}, retries={})
    second = route(retries={"attempts": 2}, headers={"request": {"set": {"x-b": "2", "x-a": "1"}}})
    assert first.traffic == second.traffic is not None


def test_a_changed_copy_of_a_route_has_its_own_traffic() -> None:
    plain = route()
    assert plain.traffic is None
    assert "traffic" not in plain.model_dump()
    busy = plain.model_copy(update={"maintenance": Maintenance(message="Back soon")})
    assert busy.traffic is not None
    assert busy.model_copy(update={"maintenance": None}).traffic is None


def test_a_version_changes_with_what_is_written_and_not_with_what_could_be() -> None:
    plain = load().version
    assert load(change=change(mirror=[])).version == plain
    assert load(change=change(maintenance={"message": "Back soon"})).version != plain


def test_retries_are_safe_unless_they_say_otherwise() -> None:
    assert Retries().safe
    assert not Retries.model_validate({"retry_on": ["5xx"]}).safe
    # A try that took too long may have been acted on.
    assert not Retries.model_validate({"per_try_timeout_ms": 5}).safe


@pytest.mark.requirement("R112")
def test_deprecation_is_written_as_the_standards_say() -> None:
    said = Deprecation.model_validate({"since": "2023-06-30", "sunset": "2026-12-31", "link": "https://docs.test/a"})
    assert said.headers == (
        ("deprecation", "@1688083200"),
        ("sunset", "Thu, 31 Dec 2026 00:00:00 GMT"),
        ("link", '<https://docs.test/a>; rel="deprecation"; type="text/html"'),
        ("link", '<https://docs.test/a>; rel="sunset"; type="text/html"'),
    )
