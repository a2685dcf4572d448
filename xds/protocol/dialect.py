"""What the two dialects do differently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from xds.protocol.messages import Request, Response
from xds.protocol.subscription import InFlight, Refusal, Subscription
from xds.snapshot import Resource, ResourceSet


@dataclass(frozen=True, slots=True)
class Draft:
    """A response to be: what it brings, what it takes away, and what nothing bears. An empty one is sent too.

    `version` where it is not that of all that is offered.
    """

    resources: tuple[Resource, ...] = ()
    removed: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    version: str = ""


RequestT = TypeVar("RequestT", bound=Request, contravariant=True)


class Dialect(Protocol[RequestT]):
    """How a request changes a subscription, and what is then owed to the client."""

    @property
    def name(self) -> str:
        """In metrics."""

    @property
    def sets_have_versions(self) -> bool:
        """A response has its set's version, and not only its resources have theirs."""

    @property
    def in_order(self) -> bool:
        """Who answers a response has done with those before it."""

    def is_stale(self, subscription: Subscription, request: RequestT) -> bool:
        """The request answers a response that is not the one to answer; it says nothing about the present."""

    def subscribe(self, subscription: Subscription, request: RequestT, *, first: bool) -> None:
        """Take over what the request asks for; `first` on this stream for this type."""

    def owed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> Sequence[Draft]:
        """The responses that are due. Without `updates` only to what was asked for, and clears that.

        An update for which `held` is true stays back and is noted in the subscription.
        """

    def sending(self, subscription: Subscription, response: Response) -> None:
        """Note what the client will have once it accepts the response."""

    def accept(self, subscription: Subscription, flight: InFlight) -> None:
        """The client has accepted."""

    def refuse(self, subscription: Subscription, flight: InFlight, message: str, offered: ResourceSet) -> None:
        """The client has refused, and goes on with what it had; `offered` is what it is offered now."""

    def reconsider(self, subscription: Subscription, offered: ResourceSet) -> None:
        """What is offered has changed."""


def refusal(response: Response, subscription: Subscription, message: str) -> dict[str, Refusal]:
    """By name: which of the response's resources the client may have meant."""
    new = [resource for resource in response.resources if subscription.acked.get(resource.name) != resource.version]
    return {
        resource.name: Refusal(resource.version, message, resource, sole=len(new) == 1)
        for resource in new
        if subscription.covers(resource.name)
    }
