"""Where requests come in and where they go: listeners, certificates, upstreams, and the gateway's own services."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from policy.kinds import (
    BindAddress,
    Count,
    Endpoint,
    FilePath,
    HostName,
    Method,
    Milliseconds,
    Model,
    Name,
    Network,
    Origin,
    Port,
    Seconds,
    SpiffeId,
    Text,
    is_host_name,
)
from policy.resilience import (
    Bounds,
    DnsResolution,
    HealthCheck,
    HealthProtocol,
    LoadBalancing,
    OutlierDetection,
    SlowStart,
)
from policy.tracing import Tracing


class Certificate(Model):
    """A certificate chain and its key, in PEM files that the control plane reads and serves by SDS."""

    chain_file: FilePath
    key_file: FilePath


class Authority(Model):
    """A certificate authority, in a PEM file, and the identities (URI SANs) that are accepted of it."""

    ca_file: FilePath
    identities: Annotated[tuple[SpiffeId, ...], Field(min_length=1)]


class TlsVersion(StrEnum):
    """TLS 1.0 and 1.1 are not to be used (RFC 8996)."""

    V1_2 = "1.2"
    V1_3 = "1.3"


class CipherSuite(StrEnum):
    """Suites of TLS 1.2 that keep past traffic secret; those of 1.3 are all good, and not a matter of choice."""

    ECDSA_AES128 = "ECDHE-ECDSA-AES128-GCM-SHA256"
    RSA_AES128 = "ECDHE-RSA-AES128-GCM-SHA256"
    ECDSA_AES256 = "ECDHE-ECDSA-AES256-GCM-SHA384"
    RSA_AES256 = "ECDHE-RSA-AES256-GCM-SHA384"
    ECDSA_CHACHA20 = "ECDHE-ECDSA-CHACHA20-POLY1305"
    RSA_CHACHA20 = "ECDHE-RSA-CHACHA20-POLY1305"


# What browsers ask of a site that wants to be on their lists of preloaded ones.
_PRELOAD_SECONDS = 31_536_000


class ListenerTls(Model):
    certificate: Name
    client_authority: Name | None = Field(None, description="Demand a client certificate of this authority (mTLS).")
    minimum_version: TlsVersion = TlsVersion.V1_2
    cipher_suites: tuple[CipherSuite, ...] = Field(
        (), description="Those of TLS 1.2 that are taken, the preferred first; none: all of them."
    )
    hsts_seconds: Annotated[int, Field(strict=True, ge=0, le=63_072_000)] = Field(
        0, description="Strict-Transport-Security max-age (RFC 6797); 0 sends none."
    )
    hsts_include_subdomains: bool = Field(False, description="The promise holds for every subdomain too.")
    hsts_preload: bool = Field(False, description="Consent to being built into browsers; hard to take back.")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.cipher_suites and self.minimum_version is TlsVersion.V1_3:
            raise ValueError("cipher_suites are those of TLS 1.2, and minimum_version is 1.3")
        if (self.hsts_include_subdomains or self.hsts_preload) and not self.hsts_seconds:
            raise ValueError("hsts_include_subdomains and hsts_preload need hsts_seconds")
        if self.hsts_preload and not (self.hsts_include_subdomains and self.hsts_seconds >= _PRELOAD_SECONDS):
            raise ValueError(f"hsts_preload needs hsts_include_subdomains and hsts_seconds of {_PRELOAD_SECONDS}")
        return self

    @property
    def hsts(self) -> str | None:
        """The value of Strict-Transport-Security (RFC 6797 §6.1), None where nothing is promised."""
        if not self.hsts_seconds:
            return None
        subdomains = "; includeSubDomains" if self.hsts_include_subdomains else ""
        return f"max-age={self.hsts_seconds}{subdomains}{'; preload' if self.hsts_preload else ''}"


class ClientAddress(StrEnum):
    """Which address is the client's: the TCP peer's, or the one that the authenticated gateway before us wrote."""

    PEER = "peer"
    FORWARDED = "forwarded"


# A name, never `*`: that would trust headers that nobody has thought of.
HeaderField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,62}$")]


class Cors(Model):
    """Which web pages may call (Fetch standard, CORS protocol). A preflight of any other origin goes nowhere."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1)]
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = (Method.GET, Method.POST)
    headers: tuple[HeaderField, ...] = (
        "authorization",
        "content-type",
        "x-api-key",
        "x-request-id",
        "x-requested-with",
    )
    exposed_headers: tuple[HeaderField, ...] = ("x-request-id", "ratelimit", "ratelimit-policy", "retry-after")
    credentials: bool = False
    max_age_seconds: Seconds = 600


class Listener(Model):
    """A socket of the gateway's Envoy."""

    description: Text | None = None
    address: BindAddress
    tls: ListenerTls | None = None
    redirect_to_https_port: Port | None = Field(None, description="Answer everything with 301 to https on this port.")
    acme_challenge: Name | None = Field(
        None, description="On a listener that redirects: the upstream that answers ACME's http-01 (RFC 8555 §8.3)."
    )
    client_address: ClientAddress = ClientAddress.PEER
    trusted_hops: Annotated[int, Field(strict=True, ge=0, le=10)] = Field(
        0, description="Proxies of ours in front of this listener that append to X-Forwarded-For."
    )
    networks: tuple[Name, ...] = Field(
        (), description="Allow-lists for everything on this listener; none: any address."
    )
    cors: Cors | None = None

    @model_validator(mode="after")
    def _forwarded_needs_an_authenticated_peer(self) -> Self:
        if self.client_address is ClientAddress.FORWARDED and (self.tls is None or self.tls.client_authority is None):
            raise ValueError("client_address: forwarded believes the peer, so it needs tls.client_authority")
        if self.client_address is ClientAddress.FORWARDED and self.trusted_hops:
            raise ValueError("trusted_hops is for client_address: peer")
        if self.redirect_to_https_port is not None and self.tls is not None:
            raise ValueError("a listener that redirects to https has no tls of its own")
        if self.redirect_to_https_port is not None and self.networks:
            raise ValueError("a listener that redirects to https asks nobody for an address: it has no networks")
        if self.acme_challenge is not None and self.redirect_to_https_port is None:
            raise ValueError("acme_challenge is for a listener that redirects to https; elsewhere it is a route")
        return self


class Protocol(StrEnum):
    HTTP1 = "http1"
    HTTP2 = "http2"


class UpstreamTls(Model):
    minimum_version: TlsVersion = TlsVersion.V1_2
    certificate: Name | None = Field(None, description="The client certificate that we show (mTLS).")
    authority: Name = Field(description="Who must have issued the server's certificate, and for which identities.")
    server_name: HostName | None = Field(None, description="SNI.")


class Upstream(Bounds):
    """A service, or the gateway behind this one: a cluster of Envoy's."""

    description: Text | None = None
    endpoints: tuple[Endpoint, ...] = Field(description="HOST:PORT each; none is allowed, and answers 503.")
    protocol: Protocol = Protocol.HTTP1
    tls: UpstreamTls | None = None
    connect_timeout_ms: Milliseconds = 1000
    load_balancing: LoadBalancing = LoadBalancing.LEAST_REQUEST
    slow_start: SlowStart | None = None
    health_check: HealthCheck | None = None
    outlier_detection: OutlierDetection | None = None
    dns: DnsResolution | None = Field(None, description="For endpoints that are host names.")

    @property
    def named_hosts(self) -> tuple[str, ...]:
        """The endpoints that are host names, which Envoy resolves."""
        return tuple(endpoint for endpoint in self.endpoints if is_host_name(endpoint))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.dns is not None and not self.named_hosts:
            raise ValueError("dns is for endpoints that are host names, and there is none")
        if self.named_hosts and any(endpoint.startswith("unix:") for endpoint in self.endpoints):
            raise ValueError("host names and Unix sockets do not mix in one upstream")
        if self.slow_start is not None and self.load_balancing is LoadBalancing.RANDOM:
            raise ValueError("slow_start needs load_balancing: least_request or round_robin")
        grpc = self.health_check is not None and self.health_check.protocol is HealthProtocol.GRPC
        if grpc and self.protocol is not Protocol.HTTP2:
            raise ValueError("a gRPC health check needs protocol: http2")
        return self


class FailedCredentials(Model):
    """Tokens, keys and signatures that fail: an address with more of them in a minute gets 429 for each further one.

    Good credentials from the same address are not counted and never refused for it.
    """

    per_minute: Count = 20
    exempt: Annotated[tuple[Network, ...], Field(description="Networks that are not counted, such as a test's.")] = ()


class Authorization(Model):
    """The gateway's ext_authz service. It is always fail-closed: no answer is a 503."""

    endpoint: Endpoint
    timeout_ms: Milliseconds = 200
    failed_credentials: FailedCredentials = FailedCredentials()


class LimitHeaders(StrEnum):
    """When RateLimit headers are sent: with every answer, or only with the 429 (where the next tier tells more)."""

    ALWAYS = "always"
    REFUSAL = "refusal"


class LimitsAnswered(StrEnum):
    """Who answers for the limits: the rate-limit service, asked by Envoy, or the Check, last (docs/adr/0027)."""

    RATELIMIT = "ratelimit"
    AUTHZ = "authz"


class RateLimiting(Model):
    """The gateway's rate-limit service."""

    endpoint: Endpoint
    timeout_ms: Milliseconds = 200
    headers: LimitHeaders = LimitHeaders.ALWAYS
    answered_by: LimitsAnswered = Field(
        LimitsAnswered.RATELIMIT,
        description="authz: the Check counts too, last, where both run in one process: one call in place of two.",
    )


class FloodGuard(Model):
    """Envoy's own coarse limit per client address, ahead of every call to Python."""

    requests_per_second: Count = 200
    burst: Count = 1000


class Telemetry(Model):
    """Who the Envoys tell of every request that has ended.

    No request waits for it, and what cannot be told while it is away is not told later.
    """

    endpoint: Endpoint
    tracing: Tracing | None = Field(None, description="None: no request is traced.")


class Services(Model):
    authz: Authorization
    ratelimit: RateLimiting
    telemetry: Telemetry | None = None
    flood_guard: FloodGuard | None = None
