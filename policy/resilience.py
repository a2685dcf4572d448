"""What keeps one bad host, or a bad minute, from becoming everybody's: checks, ejection, bounds, name resolution."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from policy.kinds import Count, HostName, Method, Milliseconds, Model, Seconds

Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Times = Annotated[int, Field(strict=True, ge=1, le=100)]
Status = Annotated[int, Field(strict=True, ge=100, le=599)]
# A path with a query; Envoy sends it as it is, so nothing that could end the request line.
ServiceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,253}$")]
CheckedPath = Annotated[str, StringConstraints(pattern=r"^/[!-~]{0,1023}$")]


class HealthProtocol(StrEnum):
    """`http`: a status; `grpc`: grpc.health.v1; `tcp`: a connection is enough."""

    HTTP = "http"
    GRPC = "grpc"
    TCP = "tcp"


class HealthCheck(Model):
    """Ask each host whether it is well, and send it nothing while it is not (Envoy: core.v3.HealthCheck)."""

    protocol: HealthProtocol = HealthProtocol.HTTP
    path: CheckedPath = Field("/healthz", description="http: what is asked for.")
    method: Method = Field(Method.GET, description="http: GET or HEAD.")
    host: HostName | None = Field(None, description="http: the Host header; unset: the upstream's name.")
    statuses: tuple[Status, ...] = Field((200,), description="http: the answers that mean well.")
    service: ServiceName | None = Field(None, description="grpc: the service that is asked about; unset: the server.")
    interval_ms: Milliseconds = 5_000
    timeout_ms: Milliseconds = 1_000
    unhealthy_after: Times = Field(3, description="Failures in a row that take a host out.")
    healthy_after: Times = Field(2, description="Successes in a row that take it in again.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.timeout_ms > self.interval_ms:
            raise ValueError("timeout_ms is at most interval_ms")
        if self.method not in {Method.GET, Method.HEAD}:
            raise ValueError("a health check is a GET or a HEAD")
        if self.protocol is HealthProtocol.HTTP and not self.statuses:
            raise ValueError("statuses names at least one answer")
        return self


class OutlierDetection(Model):
    """Take out a host by what it answers (Envoy: cluster.v3.OutlierDetection).

    Without this only a host that cannot be reached is taken out, for some seconds.
    """

    consecutive_5xx: Times | None = Field(5, description="Answers of 5xx in a row; null: they do not count.")
    consecutive_gateway_errors: Times | None = Field(None, description="Answers of 502, 503 and 504 in a row.")
    ejection_ms: Milliseconds = Field(30_000, description="The first time; each further time that much longer.")
    max_ejection_ms: Milliseconds = 300_000
    interval_ms: Milliseconds = Field(10_000, description="How often hosts come back and times are looked at.")
    max_ejected_percent: Percent = Field(50, description="At most this share of the hosts is out at a time.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_ejection_ms < self.ejection_ms:
            raise ValueError("max_ejection_ms is at least ejection_ms")
        return self


class RetryBudget(Model):
    """Retries as a share of the requests in flight, so that they cannot become a storm."""

    percent: Annotated[int, Field(strict=True, ge=1, le=100)] = 20
    minimum: Annotated[int, Field(strict=True, ge=0, le=1000)] = Field(
        3, description="So many at a time are allowed however little goes on."
    )


class LoadBalancing(StrEnum):
    LEAST_REQUEST = "least_request"
    ROUND_ROBIN = "round_robin"
    RANDOM = "random"


class AddressFamily(StrEnum):
    """Which addresses of a name are taken."""

    V4_PREFERRED = "v4_preferred"
    V4 = "v4"
    V6 = "v6"
    ALL = "all"


class DnsResolution(Model):
    """How the host names among the endpoints are resolved (Envoy: clusters.dns.v3.DnsCluster)."""

    refresh_seconds: Seconds = Field(5, description="How long an answer is believed, where its TTL does not say.")
    respect_ttl: bool = Field(True, description="Believe an answer as long as its TTL says.")
    family: AddressFamily = AddressFamily.V4_PREFERRED


class SlowStart(Model):
    """A host that has just come in gets its share of requests little by little over this time."""

    window_ms: Milliseconds = 30_000


class Bounds(Model):
    """How much may be going on at once; what is beyond is answered 503 at once (circuit breakers)."""

    max_connections: Count = 1024
    max_pending_requests: Count | None = Field(None, description="Waiting for a connection; unset: max_requests.")
    max_requests: Count = 4096
    max_retries: Count | None = Field(None, description="At a time; unset: 64. Instead of retry_budget.")
    retry_budget: RetryBudget | None = None

    @model_validator(mode="after")
    def _one_bound_of_retries(self) -> Self:
        if self.max_retries is not None and self.retry_budget is not None:
            raise ValueError("max_retries or retry_budget, not both")
        return self
