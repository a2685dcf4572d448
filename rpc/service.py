"""What a service is to the servers in front of it: octets in, octets out, and some calls that have to wait."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Generic, Protocol, TypeVar

# What gRPC servers take by default, Envoy's too.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024


class Status(IntEnum):
    """The gRPC status codes that a call can end with here (google.rpc.Code)."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that ends without an answer. Envoy's filters make a 503 of it, as nobody could decide."""

    status: Status
    message: str


class Waiting(Protocol):
    """A call that has been begun and cannot be answered yet."""

    # Set by the server: nobody waits for the answer any more.
    given_up: bool

    @property
    def awaited(self) -> Hashable:
        """What it waits for. Those of a batch that wait for the same are settled together, the others apart."""
        ...


WaitingT = TypeVar("WaitingT", bound=Waiting)


class Service(Protocol[WaitingT]):
    """One method. Neither function should raise; where one does, its calls end as INTERNAL, which tells nothing."""

    def begin(self, raw: bytes, started: float) -> bytes | Failure | WaitingT:
        """The answer to a message, why there is none, or what has to wait. It must not wait itself.

        `started`: when the call came, by the method's counter. Whoever leaves before it is begun is not begun for.
        """
        ...

    async def settle(self, waiting: Sequence[WaitingT]) -> Sequence[bytes | Failure]:
        """How each of some calls ends that had to wait, in their order."""
        ...


@dataclass(frozen=True, slots=True)
class Method(Generic[WaitingT]):
    """A unary method `/{service_name}/{name}`, and gRPC health beside it.

    `is_serving`: what health checks for a name are answered. `counter`: seconds since whenever, read in any thread.
    `at_once`: the most calls that are begun before anything else has its turn on the event loop. `told`: metadata that
    matter.
    """

    service_name: str
    name: str
    service: Service[WaitingT]
    is_serving: Callable[[str], bool]
    counter: Callable[[], float] = time.perf_counter
    max_bytes: int = MAX_MESSAGE_BYTES
    at_once: int = 64
    told: "Told[WaitingT] | None" = None


@dataclass(frozen=True, slots=True)
class Told(Generic[WaitingT]):
    """What a caller says beside its message: the metadata of that name, which `tell` hands to a call that waits."""

    name: str
    tell: Callable[[WaitingT, bytes], None]
