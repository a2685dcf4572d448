"""Which requests are traced, and who is told (W3C Trace Context, OpenTelemetry)."""

from typing import Annotated

from pydantic import Field

from policy.kinds import Endpoint, Model

Percent = Annotated[float, Field(strict=True, ge=0, le=100, multiple_of=0.01)]


class Tracing(Model):
    """A traced request tells of itself in every gateway that it passes: how long who took, and what was decided."""

    sample_percent: Percent = Field(1, description="Of the requests whose trace begins here.")
    endpoint: Endpoint | None = Field(
        None, description="An OTLP collector (gRPC, without TLS); otherwise the telemetry service itself."
    )
    continue_from_clients: bool = Field(
        False,
        description="Go on with the trace that a client began, and trace its request if the client did. Otherwise its "
        "traceparent is taken away where clients reach us: anybody could name others' traces and have all be traced.",
    )
