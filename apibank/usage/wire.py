"""The question that charges nothing, in Envoy's protocol: ShouldRateLimit with 0 hits for each descriptor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc

from protos import rls_pb2 as pb
from protos import rls_pb2_grpc

# Nobody waits for a gateway that is gone, and no store that answers takes this long.
CALL_SECONDS: Final = 2.0
_NANO: Final = 1e-9


class UnansweredError(Exception):
    """A gateway's process could not say what is left; the text says why."""


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to one counter. `name`: of the limit that applies. `figure` and `remaining` None: no bound.

    `seconds`: until a request passes where none would now, else until the counter is as if never used.
    """

    name: str
    figure: int | None
    remaining: int | None
    passes: bool
    seconds: float


async def ask(endpoint: str, domain: str, descriptors: Sequence[tuple[tuple[str, str], ...]]) -> list[Left]:
    """What the rate-limit service at HOST:PORT or unix:/PATH has left for each descriptor. Raises UnansweredError."""
    request = pb.RateLimitRequest(domain=domain)
    for entries in descriptors:
        descriptor = request.descriptors.add()
        # Present and 0: asked, not charged. A request's own hits_addend of 0 would mean one hit.
        descriptor.hits_addend.value = 0
        for key, value in entries:
            descriptor.entries.add(key=key, value=value)
    try:
        async with grpc.aio.insecure_channel(endpoint) as channel:
            stub = rls_pb2_grpc.RateLimitServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: pb.RateLimitResponse = await stub.ShouldRateLimit(request, timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        raise UnansweredError(f"its limits at {endpoint} do not answer: {_said(error)}") from None
    if any(_is_uncounted(status) for status in answer.statuses):
        raise UnansweredError(f"its limits at {endpoint} let pass what they cannot count: their store is away")
    return [_left(status) for status in answer.statuses]


def _is_uncounted(status: pb.RateLimitResponse.DescriptorStatus) -> bool:
    """Whether a limit fails open: it says no time, and that nothing is left, and means neither."""
    return status.HasField("current_limit") and not status.HasField("duration_until_reset")


def _left(status: pb.RateLimitResponse.DescriptorStatus) -> Left:
    seconds = status.duration_until_reset.seconds + status.duration_until_reset.nanos * _NANO
    passes = status.code != pb.RateLimitResponse.OVER_LIMIT
    if not status.HasField("current_limit"):
        return Left("", None, None, passes, seconds)
    limit = status.current_limit
    return Left(limit.name, limit.requests_per_unit, status.limit_remaining, passes, seconds)


def _said(error: grpc.aio.AioRpcError) -> str:
    # What gRPC says of a connection that fails is a page of its own.
    return (error.details() or error.code().name).partition(";")[0][:200]
