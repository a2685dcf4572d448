"""Where requests come in and where they go: listeners, certificates, upstreams, and the gateway's own services."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from policy.kinds import (
    BindAddress,
    Count,
    Endpoint,
    FilePath,
    Method,
    Milliseconds,
    Model,
    Name,
    Origin,
    Port,
    Seconds,
    SpiffeId,
    Text,
)


class Certificate(Model):
    """A certificate chain and its key, in PEM files that the control plane reads and serves by SDS."""

    chain_file: FilePath
    key_file: FilePath


class Authority(Model):
    """A certificate authority, in a PEM file, and the identities (URI SANs) that are accepted of it."""

    ca_file: FilePath
    identities: Annotated[tuple[SpiffeId, ...], Field(min_length=1)]


class ListenerTls(Model):
    certificate: Name
    client_authority: Name | None = Field(None, description="Demand a client certificate of this authority (mTLS).")
    hsts_seconds: Annotated[int, Field(strict=True, ge=0, le=63_072_000)] = Field(
        0, description="Strict-Transport-Security max-age (RFC 6797); 0 sends none."
    )


class ClientAddress(StrEnum):
    """Which address is the client's: the TCP peer's, or the one that the authenticated gateway before us wrote."""

    PEER = "peer"
    FORWARDED = "forwarded"


class Cors(Model):
    """Which web pages may call (Fetch standard, CORS protocol). A preflight of any other origin goes nowhere."""

    origins: Annotated[tuple[Origin, ...], Field(min_length=1)]
    methods: tuple[Method, ...] = (Method.GET, Method.POST)
    headers: tuple[str, ...] = ("authorization", "content-type", "x-api-key", "x-request-id", "x-requested-with")
    exposed_headers: tuple[str, ...] = ("x-request-id", "ratelimit", "ratelimit-policy", "retry-after")
    credentials: bool = False
    max_age_seconds: Seconds = 600


class Listener(Model):
    """A socket of the gateway's Envoy."""

    description: Text | None = None
    address: BindAddress
    tls: ListenerTls | None = None
    redirect_to_https_port: Port | None = Field(None, description="Answer everything with 301 to https on this port.")
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
        return self


class Protocol(StrEnum):
    HTTP1 = "http1"
    HTTP2 = "http2"


class UpstreamTls(Model):
    certificate: Name | None = Field(None, description="The client certificate that we show (mTLS).")
    authority: Name = Field(description="Who must have issued the server's certificate, and for which identities.")
    server_name: Text | None = Field(None, description="SNI.")


class Upstream(Model):
    """A service, or the gateway behind this one: a cluster of Envoy's."""

    description: Text | None = None
    endpoints: tuple[Endpoint, ...] = Field(description="HOST:PORT each; none is allowed, and answers 503.")
    protocol: Protocol = Protocol.HTTP1
    tls: UpstreamTls | None = None
    connect_timeout_ms: Milliseconds = 1000
    max_connections: Count = 1024
    max_requests: Count = 4096


class Authorization(Model):
    """The gateway's ext_authz service. It is always fail-closed: no answer is a 503."""

    endpoint: Endpoint
    timeout_ms: Milliseconds = 200


class LimitHeaders(StrEnum):
    """When RateLimit headers are sent: with every answer, or only with the 429 (where the next tier tells more)."""

    ALWAYS = "always"
    REFUSAL = "refusal"


class RateLimiting(Model):
    """The gateway's rate-limit service."""

    endpoint: Endpoint
    timeout_ms: Milliseconds = 200
    headers: LimitHeaders = LimitHeaders.ALWAYS


class FloodGuard(Model):
    """Envoy's own coarse limit per client address, ahead of every call to Python."""

    requests_per_second: Count = 200
    burst: Count = 1000


class Services(Model):
    authz: Authorization
    ratelimit: RateLimiting
    flood_guard: FloodGuard | None = None
