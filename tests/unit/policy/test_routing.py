"""Which route a path takes. That an Envoy agrees is shown in tests/contract/policy_commands."""

from typing import Any

import pytest

from policy.model import Gateway
from policy.rewriting import Redirect
from policy.routing import Challenge, Match, NoRoute, forwarded, matched, normalised, redirected

POLICY: dict[str, Any] = {
    "gateway": "shop",
    "description": "A shop.",
    "owners": ["tests@waooaw.ai"],
    "callers": {"partners": True},
    "tiers": ["free"],
    "services": {"authz": {"endpoint": "127.0.0.1:1"}, "ratelimit": {"endpoint": "127.0.0.1:2"}},
    "listeners": {
        "inside": {"address": "127.0.0.1:8000"},
        "outside": {"address": "127.0.0.1:8001"},
        "plain": {"address": "127.0.0.1:8002", "redirect_to_https_port": 8443, "acme_challenge": "acme"},
    },
    "upstreams": {"one": {"endpoints": []}, "acme": {"endpoints": []}},
    "defaults": {"methods": {"GET": "read"}},
    "routes": {
        "orders": {"path": "/orders", "upstream": "one"},
        "order-report": {"path": "/orders/report", "match": "exact", "upstream": "one"},
        "order-reports": {"path": "/orders/report", "upstream": "one"},
        "posted": {"path": "/orders/new", "methods": {"POST": "write"}, "upstream": "one"},
        "hidden": {"path": "/hidden", "listeners": ["inside"], "upstream": "one"},
    },
}


def shop(**routes: Any) -> Gateway:
    return Gateway.model_validate(POLICY | {"routes": POLICY["routes"] | routes})


def route_of(path: str, listener: str = "outside") -> str:
    found = matched(shop(), listener, path)
    assert isinstance(found, Match)
    return found.route


def status_of(path: str, listener: str = "outside") -> int:
    found = matched(shop(), listener, path)
    assert isinstance(found, NoRoute)
    return found.status


def test_the_longest_path_is_taken_and_of_two_equal_ones_the_exact_one() -> None:
    assert route_of("/orders/7") == "orders"
    assert route_of("/orders/report") == "order-report"
    assert route_of("/orders/report/7") == "order-reports"
    found = matched(shop(), "outside", "/orders/report")
    assert found == Match("/orders/report", "order-report", whole=True, others=("order-reports", "orders"))


def test_a_prefix_takes_whole_segments() -> None:
    assert route_of("/orders/") == "orders"
    assert status_of("/orders-reports") == 404
    assert status_of("/order") == 404
    assert status_of("/Orders") == 404


def test_a_root_takes_everything() -> None:
    found = matched(shop(rest={"path": "/", "upstream": "one"}), "outside", "/elsewhere")
    assert isinstance(found, Match)
    assert (found.route, found.whole) == ("rest", False)


def test_a_route_serves_on_its_listeners_alone() -> None:
    assert route_of("/hidden", "inside") == "hidden"
    assert status_of("/hidden") == 404


def test_a_method_that_is_not_admitted_changes_no_route() -> None:
    assert route_of("/orders/new") == "posted"


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/../..", "/"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/a//../b", "/a/b"),
        ("/%61%2D", "/a-"),
        ("/a\\b", "/a/b"),
        ("/a/..;/b", "/b"),
        ("/a/..;x=1;y/b", "/b"),
        ("/a/.;/b", "/a/b"),
        ("/a/..;", "/"),
        ("/a/%2e%2e;/b", "/a/..;/b"),
        ("/a\\..;/b", "/a/..;/b"),
        ("/a/...;/b;x", "/a/...;/b;x"),
        ("/a%2Fb?x", None),
        ("/a%5cb", None),
        ("/a%00", None),
        ("/a#b", None),
        ("/a?b=%2F/../c", "/a"),
        ("/%252e", "/%252e"),
        ("/a b{}", "/a%20b%7B%7D"),
        ("/é", "/%C3%A9"),
        ("///", "//"),
    ],
)
def test_a_path_is_normalised_or_refused(asked: str, seen: str | None) -> None:
    assert normalised(asked) == seen


def test_a_path_that_is_refused_is_400_before_any_route() -> None:
    assert status_of("/orders/a%2Fb") == 400
    assert status_of("/orders#a", "plain") == 400


def test_a_listener_that_redirects_serves_its_challenge_alone() -> None:
    assert status_of("/orders", "plain") == 301
    assert matched(shop(), "plain", "/.well-known/acme-challenge/x") == Challenge(
        "/.well-known/acme-challenge/x", "acme"
    )


@pytest.mark.parametrize(
    ("rewrite", "asked", "seen"),
    [
        (None, "/orders/7", "/orders/7"),
        ({"host": "a.test"}, "/orders/7", "/orders/7"),
        ({"prefix": "/v2"}, "/orders/7", "/v2/7"),
        ({"prefix": "/v2"}, "/orders", "/v2"),
        ({"prefix": "/"}, "/orders", "/"),
        ({"prefix": "/"}, "/orders/7", "/7"),
        ({"path": "/one"}, "/orders/7", "/one"),
        ({"regex": "^/orders/([0-9]+)$", "substitution": r"/order/\1"}, "/orders/7", "/order/7"),
        ({"regex": "^/orders/([0-9]+)$", "substitution": r"/order/\1"}, "/orders/x", "/orders/x"),
    ],
)
def test_a_service_sees_the_path_that_the_rewrite_makes(rewrite: Any, asked: str, seen: str) -> None:
    route = shop(orders={"path": "/orders", "upstream": "one", "rewrite": rewrite}).routes["orders"]
    assert forwarded(route, asked) == seen


def test_a_root_that_is_rewritten_neither_loses_nor_doubles_a_slash() -> None:
    route = shop(rest={"path": "/", "upstream": "one", "rewrite": {"prefix": "/v2"}}).routes["rest"]
    assert [forwarded(route, path) for path in ("/", "/a")] == ["/v2/", "/v2/a"]


def test_a_redirect_leads_to_its_path_or_to_the_one_that_was_asked() -> None:
    orders = shop().routes["orders"]
    for written, path in (({"path": "/new"}, "/new"), ({"prefix": "/new"}, "/new/7"), ({"https": True}, "/orders/7")):
        assert redirected(orders, Redirect.model_validate(written), "/orders/7") == path
