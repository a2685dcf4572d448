"""How often: asked of whoever counts, last, and only of what everything else has let pass (docs/adr/0027).

Who counts is no part of authorization: it is handed in by whoever puts a gateway's process together.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from authz.decision import Decision, Refusal
from authz.principal import Principal
from authz.request import Request
from authz.rules import RouteRules
from policy.descriptors import CLIENT_ADDRESS_HEADER
from policy.limit_shapes import LimitShape

_TOO_MANY: Final = 429
_GRPC: Final = "application/grpc"
# As the rate-limit filter says it to gRPC clients; for 429 alone Envoy would say UNAVAILABLE (14).
_RESOURCE_EXHAUSTED: Final = ("grpc-status", "8")


class Counting(NamedTuple):
    """One request to be counted: the limits of its route, and what Envoy would have known of who asks."""

    limits: tuple[LimitShape, ...]
    tier: str
    caller: str
    address: str


class Counted(NamedTuple):
    """What came of it. `refusal` None: the request passes. `headers`: (name, value) of the client's answer.

    `charged`: whether there is anything to give back. What is refused was not, nor what passed uncounted.
    """

    refusal: Refusal | None
    headers: tuple[tuple[str, str], ...] = ()
    charged: bool = False


class Limits(Protocol):
    """Counts the requests of one gateway: all limits of one are charged, or where one refuses, none."""

    def count_now(self, asked: Counting) -> Counted | None:
        """Count one, where that needs no waiting; None, and nothing is charged, where it does."""
        ...

    async def count(self, asked: Sequence[Counting]) -> Sequence[Counted]:
        """Count each as if alone, one after the other, in one round trip, however many there are."""
        ...

    async def give_back(self, asked: Sequence[Counting]) -> None:
        """Undo what was charged for these, which passed and then came to nothing."""
        ...


def counting(request: Request, route: RouteRules, principal: Principal) -> Counting:
    """What to count for a request that has passed."""
    address = request.headers.get(CLIENT_ADDRESS_HEADER, "")
    return Counting(route.limits, principal.counted_tier, principal.caller, address)


def as_counted(request: Request, decision: Decision, counted: Counted) -> Decision:
    """A decision to let pass, with what the limits say of it."""
    refusal, told = counted.refusal, counted.headers
    if refusal is None:
        if not told:
            return decision
    elif refusal.status == _TOO_MANY and _is_grpc(request.headers.get("content-type", "")):
        told = (*told, _RESOURCE_EXHAUSTED)
    # `replace` would take three microseconds for it, of each request.
    return Decision(
        refusal,
        decision.principal,
        decision.route,
        decision.claim,
        decision.missing_key,
        decision.shadowed,
        decision.waived,
        told,
    )


def _is_grpc(content_type: str) -> bool:
    """As Envoy's filters tell it; gRPC-Web, and what else begins alike, is not."""
    return content_type == _GRPC or content_type.startswith(_GRPC + "+")
