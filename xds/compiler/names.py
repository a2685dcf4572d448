"""What the resources of a gateway are called, wherever they refer to each other.

Names of policies hold no slash, so no upstream, certificate or authority can take the name of another kind.
"""

from typing import Final

# Clusters of the gateway's own services.
AUTHZ: Final = "services/authz"
RATELIMIT: Final = "services/ratelimit"
TELEMETRY: Final = "services/telemetry"
# An OTLP collector that is not the telemetry service.
TRACES: Final = "services/telemetry/tracing"


def certificate(name: str) -> str:
    """The secret that holds a certificate and its key."""
    return f"certificate/{name}"


def authority(name: str) -> str:
    """The secret that holds a certificate authority and the identities that are accepted of it."""
    return f"authority/{name}"


def routes_of(listener: str) -> str:
    """The route configuration of a listener."""
    return listener
