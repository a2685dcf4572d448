"""Which listeners and upstreams can be written, and what is said of those that contradict themselves."""

from typing import Any

import pytest
from pydantic import ValidationError

from policy.edge import Listener, ListenerTls, Upstream


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"endpoints": ["127.0.0.1:1"], "dns": {}}, "there is none"),
        ({"endpoints": ["a:1", "unix:/run/x"]}, "do not mix"),
        ({"endpoints": [], "max_retries": 3, "retry_budget": {}}, "not both"),
        ({"endpoints": [], "slow_start": {}, "load_balancing": "random"}, "slow_start needs"),
        ({"endpoints": [], "health_check": {"protocol": "grpc"}}, "needs protocol: http2"),
        ({"endpoints": [], "health_check": {"interval_ms": 10, "timeout_ms": 20}}, "at most interval_ms"),
        ({"endpoints": [], "health_check": {"method": "POST"}}, "a GET or a HEAD"),
        ({"endpoints": [], "health_check": {"statuses": []}}, "at least one"),
        ({"endpoints": [], "health_check": {"path": "/a b"}}, "pattern"),
        ({"endpoints": [], "health_check": {"path": "/a\r\nx: y"}}, "pattern"),
        ({"endpoints": [], "health_check": {"host": "a\r\nx: y"}}, "pattern"),
        ({"endpoints": [], "tls": {"authority": "mesh", "server_name": "a b"}}, "pattern"),
        ({"endpoints": [], "outlier_detection": {"max_ejection_ms": 1}}, "at least ejection_ms"),
        ({"endpoints": [], "retry_budget": {"percent": 0}}, "greater than or equal to 1"),
        ({"endpoints": [], "outlier_detection": {"max_ejected_percent": 101}}, "less than or equal to 100"),
    ],
)
def test_an_upstream_that_contradicts_itself_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Upstream.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"minimum_version": "1.3", "cipher_suites": ["ECDHE-RSA-AES128-GCM-SHA256"]}, "those of TLS 1.2"),
        ({"minimum_version": "1.1"}, "1.2"),
        ({"cipher_suites": ["RC4-SHA"]}, "ECDHE"),
        ({"hsts_include_subdomains": True}, "need hsts_seconds"),
        ({"hsts_preload": True, "hsts_seconds": 31_536_000}, "needs hsts_include_subdomains"),
        ({"hsts_preload": True, "hsts_include_subdomains": True, "hsts_seconds": 60}, "31536000"),
    ],
)
def test_tls_that_contradicts_itself_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ListenerTls.model_validate({"certificate": "public", **fields})


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, None),
        ({"hsts_seconds": 60}, "max-age=60"),
        ({"hsts_seconds": 60, "hsts_include_subdomains": True}, "max-age=60; includeSubDomains"),
        (
            {"hsts_seconds": 31_536_000, "hsts_include_subdomains": True, "hsts_preload": True},
            "max-age=31536000; includeSubDomains; preload",
        ),
    ],
)
def test_the_promise_of_https_is_written_as_browsers_read_it(fields: dict[str, Any], value: str | None) -> None:
    assert ListenerTls.model_validate({"certificate": "public", **fields}).hsts == value


def test_challenges_are_answered_where_everything_else_is_redirected() -> None:
    with pytest.raises(ValidationError, match="elsewhere it is a route"):
        Listener.model_validate({"address": "127.0.0.1:80", "acme_challenge": "acme"})
    listener = Listener.model_validate(
        {"address": "127.0.0.1:80", "redirect_to_https_port": 443, "acme_challenge": "acme"}
    )
    assert listener.acme_challenge == "acme"


@pytest.mark.parametrize(
    "fields",
    [{"headers": ["x\r\nset-cookie: a=b"]}, {"headers": [""]}, {"exposed_headers": ["*"]}, {"methods": []}],
)
def test_pages_are_admitted_by_names_of_headers_and_by_methods(fields: dict[str, Any]) -> None:
    cors = {"origins": ["https://app.waooaw.ai"], **fields}
    with pytest.raises(ValidationError):
        Listener.model_validate({"address": "127.0.0.1:80", "cors": cors})


def test_a_listener_that_redirects_has_no_networks() -> None:
    with pytest.raises(ValidationError, match="has no networks"):
        Listener.model_validate({"address": "127.0.0.1:80", "redirect_to_https_port": 443, "networks": ["internal"]})
