"""Envoy's load_stats.v3 to reports, and what it is told in return."""

from __future__ import annotations

from typing import Final

from protos import lrs_pb2 as pb
from xds.load_reports.load import ClusterLoad, Report
from xds.wire import read_node

SERVICE: Final = pb.DESCRIPTOR.services_by_name["LoadReportingService"].full_name


def read_report(raw: bytes) -> Report:
    """A LoadStatsRequest. Raises google.protobuf.message.DecodeError where it is none."""
    request = pb.LoadStatsRequest.FromString(raw)
    node = read_node(request.node) if request.HasField("node") else None
    return Report(node, tuple(map(_read_load, request.cluster_stats)))


def write_interval(seconds: float) -> bytes:
    """A LoadStatsResponse: report on every cluster, as often as this."""
    response = pb.LoadStatsResponse(send_all_clusters=True)
    response.load_reporting_interval.FromNanoseconds(round(seconds * 1e9))
    return response.SerializeToString()


def _read_load(stats: pb.ClusterStats) -> ClusterLoad:
    localities = stats.upstream_locality_stats
    return ClusterLoad(
        cluster=stats.cluster_name,
        successes=sum(one.total_successful_requests for one in localities),
        errors=sum(one.total_error_requests for one in localities),
        dropped=stats.total_dropped_requests,
    )
