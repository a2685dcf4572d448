"""Which hosts of an upstream a real Envoy sends requests to, and how many at a time."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.upstreams.shop import Host, Open, eventually
from tests.contract.xds_compiler.federation import free_port

QUICK: dict[str, Any] = {"interval_ms": 50, "timeout_ms": 50, "unhealthy_after": 1, "healthy_after": 1}
Hosts = tuple[Host, Host]


def both(hosts: Hosts) -> list[str]:
    return [host.endpoint for host in hosts]


def test_a_host_that_says_it_is_unwell_is_sent_nothing_until_it_is_well_again(shop: Open, hosts: Hosts) -> None:
    well, unwell = hosts
    unwell.health = 503
    with shop({"endpoints": both(hosts), "health_check": QUICK}) as gateway:
        assert eventually(lambda: gateway.stat("cluster.service.membership_healthy") == 1)
        assert {gateway.status() for _ in range(10)} == {200}
        assert (well.hits, unwell.hits) == (10, 0)
        unwell.health = 200
        assert eventually(lambda: gateway.stat("cluster.service.membership_healthy") == 2)
        assert eventually(lambda: gateway.status() == 200 and unwell.hits > 0)


def test_a_host_may_fail_as_often_as_is_forgiven(shop: Open, hosts: Hosts) -> None:
    hosts[0].health = 500
    with shop({"endpoints": [hosts[0].endpoint], "health_check": QUICK | {"unhealthy_after": 100}}) as gateway:
        assert eventually(lambda: gateway.stat("cluster.service.health_check.failure") > 1)
        hosts[0].health = 200
        assert eventually(lambda: gateway.stat("cluster.service.health_check.success") > 0)
        assert gateway.stat("cluster.service.membership_healthy") == 1


def test_a_retry_goes_to_another_host(shop: Open, hosts: Hosts) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with shop({"endpoints": [gone, hosts[0].endpoint], "load_balancing": "random"}) as gateway:
        assert {gateway.status() for _ in range(40)} == {200}


def test_only_the_statuses_that_are_named_mean_well(shop: Open, hosts: Hosts) -> None:
    hosts[0].health, hosts[1].health = 204, 200
    check = QUICK | {"statuses": [204], "method": "GET", "path": "/healthz"}
    with shop({"endpoints": both(hosts), "health_check": check}) as gateway:
        assert eventually(lambda: gateway.stat("cluster.service.health_check.failure") > 0)
        assert eventually(lambda: gateway.stat("cluster.service.membership_healthy") == 1)
        assert gateway.status() == 200
        assert (hosts[0].hits, hosts[1].hits) == (1, 0)


def test_a_connection_is_enough_for_a_tcp_check(shop: Open, hosts: Hosts) -> None:
    hosts[0].health = 500
    with shop({"endpoints": [hosts[0].endpoint], "health_check": QUICK | {"protocol": "tcp"}}) as gateway:
        assert eventually(lambda: gateway.stat("cluster.service.health_check.success") > 0)
        assert gateway.status() == 200


def test_a_host_that_fails_in_a_row_is_taken_out_and_comes_back(shop: Open, hosts: Hosts) -> None:
    bad = hosts[1]
    bad.status = 500
    policy = {"consecutive_5xx": 3, "ejection_ms": 300, "interval_ms": 100}
    with shop({"endpoints": both(hosts), "load_balancing": "round_robin", "outlier_detection": policy}) as gateway:
        answers = [gateway.status() for _ in range(20)]
        assert bad.hits == 3
        assert answers.count(500) == 3
        bad.status = 200
        assert eventually(lambda: gateway.status() == 200 and bad.hits > 3)


def test_what_a_service_answers_takes_nothing_out_unless_it_is_written(shop: Open, hosts: Hosts) -> None:
    hosts[1].status = 500
    with shop({"endpoints": both(hosts), "load_balancing": "round_robin"}) as gateway:
        answers = [gateway.status() for _ in range(20)]
    assert answers.count(500) == hosts[1].hits == 10


def test_a_gateway_error_counts_apart_from_other_failures(shop: Open, hosts: Hosts) -> None:
    hosts[1].status = 500
    policy = {"consecutive_5xx": None, "consecutive_gateway_errors": 2, "ejection_ms": 60_000}
    with shop({"endpoints": both(hosts), "load_balancing": "round_robin", "outlier_detection": policy}) as gateway:
        assert [gateway.status() for _ in range(10)].count(500) == 5
        hosts[1].status = 503
        assert [gateway.status() for _ in range(20)].count(503) == 2


def test_what_is_beyond_the_bounds_is_refused_at_once(shop: Open, hosts: Hosts) -> None:
    host = hosts[0]
    host.seconds = 0.5
    bounds = {"max_connections": 1, "max_pending_requests": 1, "max_requests": 2}
    with shop({"endpoints": [host.endpoint], **bounds}) as gateway, ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda _: gateway.status(), range(6)))
        assert set(answers) == {200, 503}
        assert answers.count(503) >= 3
        assert gateway.stat("cluster.service.upstream_rq_pending_overflow") == answers.count(503)


@pytest.mark.parametrize(("budget", "refused"), [({"percent": 1, "minimum": 0}, True), ({"minimum": 3}, False)])
def test_a_budget_bounds_the_retries(shop: Open, hosts: Hosts, budget: dict[str, int], refused: bool) -> None:
    upstream = {"endpoints": [hosts[0].endpoint, f"127.0.0.1:{free_port()}"], "load_balancing": "round_robin"}
    with shop(upstream | {"retry_budget": budget}) as gateway:
        answers = [gateway.status() for _ in range(6)]
        assert (503 in answers) is refused
        assert (gateway.stat("cluster.service.upstream_rq_retry_overflow") > 0) is refused


def test_a_host_name_is_resolved_by_envoy(shop: Open, hosts: Hosts) -> None:
    upstream = {"endpoints": [f"localhost:{hosts[0].port}"], "dns": {"refresh_seconds": 1, "family": "v4"}}
    with shop(upstream) as gateway:
        assert eventually(lambda: gateway.status() == 200)
        assert hosts[0].hits > 0


def test_names_and_addresses_may_stand_side_by_side(shop: Open, hosts: Hosts) -> None:
    endpoints = [f"localhost:{hosts[0].port}", hosts[1].endpoint]
    with shop({"endpoints": endpoints, "load_balancing": "round_robin"}) as gateway:
        assert eventually(lambda: gateway.status() == 200 and hosts[0].hits > 0 and hosts[1].hits > 0)


@pytest.mark.parametrize("load_balancing", ["least_request", "round_robin", "random"])
def test_every_way_to_choose_a_host_reaches_them_all(shop: Open, hosts: Hosts, load_balancing: str) -> None:
    slow = {} if load_balancing == "random" else {"slow_start": {"window_ms": 100}}
    with shop({"endpoints": both(hosts), "load_balancing": load_balancing, **slow}) as gateway:
        assert eventually(lambda: gateway.status() == 200 and hosts[0].hits > 0 and hosts[1].hits > 0)


def test_an_upstream_without_hosts_answers_at_once(shop: Open) -> None:
    with shop({"endpoints": []}) as gateway:
        assert gateway.status() == 503
