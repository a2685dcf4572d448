"""What is counted of the proxies' reports, how long it is remembered, and how often they are asked for."""

import pytest

from protos import lrs_pb2 as pb
from xds.load_reports import wire
from xds.load_reports.load import ClusterLoad
from xds.load_reports.reports import IDLE_SECONDS, SHORTEST_SECONDS, LoadReports, Reporter, Traffic, traffic_of
from xds.protocol.messages import Node

NODE = Node("edge-1", "edge")


def nothing() -> None:
    pass


def joined(reports: LoadReports, node: Node = NODE) -> Reporter:
    return reports.join(node, nothing)


def load(cluster: str = "a", successes: int = 0, errors: int = 0, dropped: int = 0) -> ClusterLoad:
    return ClusterLoad(cluster, successes, errors, dropped)


def test_totals_grow_from_report_to_report() -> None:
    reports = LoadReports()
    reporter = joined(reports)
    assert reports.totals("edge") == {"edge-1": Traffic()}
    reports.add(reporter, [load("a", 3, 1), load("b", 2)])
    reports.add(reporter, [load("a", 1, 2)])
    assert reports.totals("edge") == {"edge-1": Traffic(9, 3)}
    assert reports.totals("other") == {}


def test_what_is_refused_before_a_host_is_chosen_has_failed() -> None:
    assert traffic_of([load(successes=1, dropped=2)]) == Traffic(3, 2)


@pytest.mark.parametrize("service", ["services/authz", "services/ratelimit"])
def test_a_gateways_own_service_counts_only_where_it_fails(service: str) -> None:
    assert traffic_of([load(service, 100, 2, 1)]) == Traffic(3, 3)


def test_the_streams_to_the_control_plane_are_no_traffic() -> None:
    assert traffic_of([load("control-plane", 1, 5)]) == Traffic()


def test_two_streams_of_a_proxy_add_up() -> None:
    reports = LoadReports()
    old, new = joined(reports), joined(reports)
    reports.add(old, [load(successes=1)])
    reports.add(new, [load(successes=1)])
    reports.leave(old)
    assert reports.totals("edge") == {"edge-1": Traffic(2, 0)}


def test_totals_survive_a_reconnection() -> None:
    reports = LoadReports()
    first = joined(reports)
    reports.add(first, [load(successes=5)])
    reports.leave(first)
    reports.add(joined(reports), [load(errors=1)])
    assert reports.totals("edge") == {"edge-1": Traffic(6, 1)}


def test_proxies_that_have_gone_are_forgotten_oldest_first_but_none_that_is_connected() -> None:
    reports = LoadReports()
    stays = joined(reports)
    reports.add(stays, [load(successes=1)])
    for number in range(2_000):
        reports.leave(joined(reports, Node(f"gone-{number}", "edge" if number % 2 else "other")))
    remembered = reports.totals("edge") | reports.totals("other")
    assert len(remembered) == 1_001
    assert remembered["edge-1"] == Traffic(1, 0)
    assert "gone-1999" in remembered
    assert "gone-999" not in remembered


def test_nothing_is_left_of_a_group_whose_proxies_are_forgotten() -> None:
    reports = LoadReports()
    reports.leave(joined(reports))
    for number in range(1_000):
        reports.leave(joined(reports, Node(str(number), "other")))
    assert reports.totals("edge") == {}


def test_proxies_report_as_often_as_the_most_curious_watcher_needs() -> None:
    reports = LoadReports()
    assert reports.interval("edge") == IDLE_SECONDS
    with reports.watch("edge", 2.0):
        with reports.watch("edge", 0.5):
            assert (reports.interval("edge"), reports.interval("other")) == (0.5, IDLE_SECONDS)
        assert reports.interval("edge") == 2.0
    assert reports.interval("edge") == IDLE_SECONDS


def test_a_group_is_told_when_somebody_begins_or_ends_watching_it_and_no_other_is() -> None:
    reports = LoadReports()
    woken: list[str] = []
    for group in ("edge", "other"):
        reports.join(Node("n", group), lambda group=group: woken.append(group))  # type: ignore[misc]
    with reports.watch("edge", 1.0):
        assert woken == ["edge"]
    assert woken == ["edge", "edge"]


@pytest.mark.parametrize("interval", [0.0, -1.0, SHORTEST_SECONDS / 2, float("nan")])
def test_no_watcher_asks_for_reports_without_a_pause(interval: float) -> None:
    reports = LoadReports()
    with pytest.raises(ValueError, match="at least"), reports.watch("edge", interval):
        pass
    assert reports.interval("edge") == IDLE_SECONDS


def test_closing_wakes_and_ends_every_open_stream() -> None:
    reports = LoadReports()
    woken: list[int] = []
    reporter = reports.join(NODE, lambda: woken.append(1))
    reports.close()
    assert reporter.closed
    assert woken == [1]
    assert not joined(reports).closed


def test_a_report_is_read_over_all_its_localities() -> None:
    request = pb.LoadStatsRequest()
    request.node.id, request.node.cluster = "edge-1", "edge"
    stats = request.cluster_stats.add(cluster_name="a", total_dropped_requests=4)
    stats.upstream_locality_stats.add(total_successful_requests=1, total_error_requests=2, total_issued_requests=9)
    stats.upstream_locality_stats.add(total_successful_requests=10, total_error_requests=20)
    report = wire.read_report(request.SerializeToString())
    assert report.node == NODE
    assert report.loads == (load("a", 11, 22, 4),)
    assert wire.read_report(b"").node is None


def test_a_proxy_is_asked_for_every_cluster() -> None:
    response = pb.LoadStatsResponse.FromString(wire.write_interval(0.25))
    assert response.send_all_clusters
    assert response.load_reporting_interval.ToMilliseconds() == 250
