"""How a request is forwarded: shares of upstreams, copies, other tries, and how long it may take."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation
from envoy_data_plane.envoy.config.route.v3 import (
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RouteActionMaxStreamDuration,
    RouteActionRequestMirrorPolicy,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate

from policy.header_changes import CREDENTIAL_HEADERS
from policy.traffic import Mirror, Retries, Traffic
from xds.compiler.encode import pack
from xds.compiler.shares import fixed_share

# A stream on which nothing moves is closed after this; routes that wait longer for their service say so themselves.
STREAM_IDLE: Final = timedelta(seconds=60)

_PREVIOUS_HOSTS: Final = "envoy.retry_host_predicates.previous_hosts"
# How often another host is looked for; the last that is found is taken, even if it has failed before.
_HOST_ATTEMPTS: Final = 5


class TimeOuts(NamedTuple):
    whole: timedelta
    idle: timedelta | None
    longest: RouteActionMaxStreamDuration | None


def time_outs(timeout_ms: int, traffic: Traffic | None) -> TimeOuts:
    """`whole` is from the end of the request to the end of the answer; zero is no bound."""
    if traffic is not None and (streaming := traffic.streaming) is not None:
        longest = RouteActionMaxStreamDuration(max_stream_duration=timedelta(milliseconds=streaming.max_duration_ms))
        return TimeOuts(timedelta(0), timedelta(milliseconds=streaming.idle_timeout_ms), longest)
    whole = timedelta(milliseconds=timeout_ms)
    if traffic is not None and traffic.idle_timeout_ms is not None:
        return TimeOuts(whole, timedelta(milliseconds=traffic.idle_timeout_ms), None)
    return TimeOuts(whole, whole + timedelta(seconds=5) if whole >= STREAM_IDLE else None, None)


def default_retries() -> RetryPolicy:
    """Try another connection where the service cannot have seen the request; never where it may have."""
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request",
        num_retries=2,
        retry_host_predicate=_other_hosts(),
        host_selection_retry_max_attempts=_HOST_ATTEMPTS,
        retry_back_off=RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=25), max_interval=timedelta(milliseconds=250)
        ),
    )


def _other_hosts() -> list[RetryPolicyRetryHostPredicate]:
    """Another host than those that have failed already, where there is one."""
    return [RetryPolicyRetryHostPredicate(name=_PREVIOUS_HOSTS, typed_config=pack(PreviousHostsPredicate()))]


def retry_policy(retries: Retries) -> RetryPolicy:
    longest = retries.per_try_timeout_ms
    return RetryPolicy(
        retry_on=",".join(dict.fromkeys(retries.retry_on)),
        num_retries=retries.attempts,
        per_try_timeout=None if longest is None else timedelta(milliseconds=longest),
        retry_host_predicate=_other_hosts(),
        host_selection_retry_max_attempts=_HOST_ATTEMPTS,
        retry_back_off=RetryPolicyRetryBackOff(
            base_interval=timedelta(milliseconds=retries.back_off_ms),
            max_interval=timedelta(milliseconds=retries.max_back_off_ms),
        ),
    )


def weighted(split: Mapping[str, int]) -> WeightedCluster:
    return WeightedCluster(
        clusters=[WeightedClusterClusterWeight(name=name, weight=weight) for name, weight in sorted(split.items())]
    )


def mirrors(copies: Sequence[Mirror]) -> list[RouteActionRequestMirrorPolicy]:
    return [
        RouteActionRequestMirrorPolicy(
            cluster=copy.upstream,
            runtime_fraction=fixed_share(copy.percent),
            request_headers_mutations=[]
            if copy.credentials
            else [HeaderMutation(remove=name) for name in CREDENTIAL_HEADERS],
        )
        for copy in copies
    ]
