"""Which hosts of a cluster are sent requests, and how many at a time."""

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    CircuitBreakersThresholdsRetryBudget,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    HealthCheckHttpHealthCheck,
    HealthCheckTcpHealthCheck,
    RequestMethod,
)
from envoy_data_plane.envoy.type.v3 import CodecClientType, Int64Range, Percent

from policy import resilience
from policy.edge import Protocol
from policy.resilience import Bounds, HealthProtocol

_MAX_RETRIES: Final = 64
_ALL: Final = 100
# Hosts are not all asked in the same moment, even when all were added in one.
_JITTER_PERCENT: Final = 10


def bounds(bound: Bounds) -> CircuitBreakers:
    budget = bound.retry_budget
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=bound.max_connections,
                max_pending_requests=bound.max_pending_requests or bound.max_requests,
                max_requests=bound.max_requests,
                # Envoy ignores it where there is a budget.
                max_retries=None if budget else (bound.max_retries or _MAX_RETRIES),
                retry_budget=None
                if budget is None
                else CircuitBreakersThresholdsRetryBudget(
                    budget_percent=Percent(value=budget.percent), min_retry_concurrency=budget.minimum
                ),
            )
        ]
    )


def outlier_detection(policy: resilience.OutlierDetection | None) -> OutlierDetection:
    """A host that cannot be reached is always skipped for some seconds; for what it answers, only if so written."""
    detection = OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=5,
        enforcing_consecutive_local_origin_failure=_ALL,
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        base_ejection_time=timedelta(seconds=5),
        max_ejection_time=timedelta(seconds=30),
        max_ejection_percent=50,
    )
    if policy is not None:
        detection.interval = timedelta(milliseconds=policy.interval_ms)
        detection.base_ejection_time = timedelta(milliseconds=policy.ejection_ms)
        detection.max_ejection_time = timedelta(milliseconds=policy.max_ejection_ms)
        detection.max_ejection_percent = policy.max_ejected_percent
        if policy.consecutive_5xx is not None:
            detection.consecutive_5xx = policy.consecutive_5xx
            detection.enforcing_consecutive_5xx = _ALL
        if policy.consecutive_gateway_errors is not None:
            detection.consecutive_gateway_failure = policy.consecutive_gateway_errors
            detection.enforcing_consecutive_gateway_failure = _ALL
    return detection


def health_checks(name: str, policy: resilience.HealthCheck | None, protocol: Protocol) -> list[HealthCheck]:
    """None or one. `name` is the upstream's, which stands in for a Host header."""
    if policy is None:
        return []
    interval = timedelta(milliseconds=policy.interval_ms)
    check = HealthCheck(
        timeout=timedelta(milliseconds=policy.timeout_ms),
        interval=interval,
        interval_jitter_percent=_JITTER_PERCENT,
        # Envoy asks only once a minute while a cluster has no traffic: too late to know when the first request comes.
        no_traffic_interval=interval,
        unhealthy_threshold=policy.unhealthy_after,
        healthy_threshold=policy.healthy_after,
    )
    match policy.protocol:
        case HealthProtocol.HTTP:
            check.http_health_check = _http(name, policy, protocol)
        case HealthProtocol.GRPC:
            check.grpc_health_check = HealthCheckGrpcHealthCheck(service_name=policy.service or "", authority=name)
        case HealthProtocol.TCP:
            check.tcp_health_check = HealthCheckTcpHealthCheck()
    return [check]


def _http(name: str, policy: resilience.HealthCheck, protocol: Protocol) -> HealthCheckHttpHealthCheck:
    return HealthCheckHttpHealthCheck(
        host=policy.host or name,
        path=policy.path,
        method=RequestMethod.HEAD if policy.method == "HEAD" else RequestMethod.GET,
        # A range of Envoy's does not hold its end.
        expected_statuses=[Int64Range(start=status, end=status + 1) for status in policy.statuses],
        # What is neither takes a host out at once, however many failures are forgiven; those expected come first.
        retriable_statuses=[Int64Range(start=100, end=600)],
        codec_client_type=CodecClientType.HTTP2 if protocol is Protocol.HTTP2 else CodecClientType.HTTP1,
    )
