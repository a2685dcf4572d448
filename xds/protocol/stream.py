"""One xDS stream of one proxy: methods take what arrived and return what to send, in order.

On an aggregated stream a change goes out in three steps, so that no proxy ever routes to what it does not have:

1. clusters and endpoints, with those that shall go still among them;
2. once the proxy has answered these, listeners, routes and all else;
3. once it has answered those too, the removal of clusters and endpoints.

A proxy that does not answer within `patience` seconds is waited for no longer. What a proxy asks for by name is never
kept waiting: it may be warming. A stream of a single type knows no other type to wait for, and has one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Generic

from xds.protocol.dialect import Dialect, Draft, RequestT
from xds.protocol.gate import SUPPLIES, USERS, Gate
from xds.protocol.messages import (
    Acked,
    Event,
    GateExpired,
    Nacked,
    Node,
    Oversized,
    Refused,
    Response,
    StaleNonce,
    UnknownType,
)
from xds.protocol.subscription import InFlight, Subscription
from xds.snapshot import CLUSTER, EMPTY_SET, PUSH_ORDER, Resource, ResourceSet, Snapshot, digest_of

PATIENCE_SECONDS: Final = 5.0

_NONE: Final[Mapping[str, Mapping[str, Resource]]] = MappingProxyType({})

# How many responses beyond two per resource may await an answer.
_UNANSWERED: Final = 100

# A response's own fields, and those of each of its resources beside name and body; both rather too large.
_RESPONSE_OVERHEAD: Final = 512
_RESOURCE_OVERHEAD: Final = 256


class Stream(Generic[RequestT]):
    """`only` is the type of a stream of a single type; without it the stream is aggregated.

    `limit` is the largest response in bytes that the client can receive. After every call, `deadline` says when to
    call `tick`, and `take_events` returns what happened.
    """

    def __init__(
        self,
        dialect: Dialect[RequestT],
        *,
        only: str | None = None,
        patience: float = PATIENCE_SECONDS,
        limit: int | None = None,
    ) -> None:
        self.node: Node | None = None
        self.target: Snapshot | None = None
        self.limit = limit
        self._dialect = dialect
        self._only = only
        self._subscriptions: dict[str, Subscription] = {}
        # What each type's subscribers are given now; it follows the target step by step.
        self._offered: dict[str, ResourceSet] = dict.fromkeys(PUSH_ORDER, EMPTY_SET)
        self._users_follow = True
        self._lingering = False
        self._gate = Gate(patience)
        self._count = 0
        self._events: list[Event] = []

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """By type URL, in the order of the first requests."""
        return MappingProxyType(self._subscriptions)

    @property
    def dialect(self) -> str:
        return self._dialect.name

    @property
    def deadline(self) -> float | None:
        return self._gate.deadline

    @property
    def live(self) -> bool:
        """The proxy has accepted everything of the target that it subscribes to, and nothing is left to remove."""
        return (
            self.target is not None
            and bool(self._subscriptions)
            and self._users_follow
            and not self._lingering
            and all(subscription.settled for subscription in self._subscriptions.values())
        )

    def take_events(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def receive(self, request: RequestT, now: float) -> list[Response] | Refused:
        """Answer a request. After a `Refused` the stream must be closed."""
        type_url = request.type_url or self._only or ""
        if broken := self._broken_rule(request, type_url):
            return Refused(broken)
        if request.node is not None and request.node.id:
            self.node = self.node or request.node
        if type_url not in PUSH_ORDER:
            self._events.append(UnknownType(type_url))
            return []
        first = type_url not in self._subscriptions
        subscription = self._subscriptions.setdefault(type_url, Subscription(type_url))
        if not first:
            self._settle(subscription, request, now)
        if self._dialect.is_stale(subscription, request):
            # It answers what has been superseded, and what it subscribes to has been said anew since.
            return []
        self._dialect.subscribe(subscription, request, first=first)
        if self.target is None:
            return []
        self._offer_asked(subscription, self.target)
        responses = self._emit([type_url], now, updates=self._is_free(type_url))
        return responses + self._advance(self.target, now)

    def publish(self, snapshot: Snapshot, now: float) -> list[Response]:
        """Start towards another snapshot, from wherever the steps towards the last one are."""
        first, self.target = self.target is None, snapshot
        self._gate.keep(snapshot)
        self._users_follow = False
        self._lingering = False
        at_once = PUSH_ORDER if first or self._only is not None else self._unsubscribed(USERS)
        for type_url in at_once:
            self._offer(type_url, snapshot.of_type(type_url))
        if at_once is PUSH_ORDER:
            self._users_follow = True
        elif self._users_are_settled(snapshot):
            self._offer_supplies(snapshot)
        else:
            self._offer_with_leaving(snapshot)
        responses: list[Response] = []
        if first:
            # Before the first snapshot requests were kept, and their answers wait for nothing.
            for type_url in PUSH_ORDER:
                responses += self._emit([type_url], now, updates=self._is_free(type_url))
        return responses + self._advance(snapshot, now)

    def tick(self, now: float) -> list[Response]:
        """Go on without the answers that are overdue."""
        if self.target is None or self.deadline is None or now < self.deadline:
            return []
        late = tuple(type_url for type_url, each in self._subscriptions.items() if each.in_flight)
        self._gate.expire(self._count)
        responses = self._advance(self.target, now)
        if responses:
            self._events.append(GateExpired(late))
        return responses

    def _broken_rule(self, request: RequestT, type_url: str) -> str:
        node = request.node
        if self.node is None and (node is None or not node.id):
            return "the first request of a stream must hold a node with an id"
        if self.node and node and node.id and (node.id, node.cluster) != (self.node.id, self.node.cluster):
            return f"this stream belongs to node {self.node.id!r} of {self.node.cluster!r}"
        if not type_url:
            return "a request on an aggregated stream must hold a type_url"
        if self._only is not None and type_url != self._only:
            return f"this stream serves {self._only}, not {type_url}"
        return ""

    def _settle(self, subscription: Subscription, request: RequestT, now: float) -> None:
        """Take the request as an answer, if it is one to a response that is in flight."""
        if not request.nonce:
            return
        if request.nonce != subscription.last_nonce and (
            self._dialect.in_order or request.nonce not in subscription.in_flight
        ):
            self._events.append(StaleNonce(subscription.type_url))
        flight = subscription.in_flight.pop(request.nonce, None)
        if flight is None:
            return
        if self._dialect.in_order:
            for nonce in [nonce for nonce, other in subscription.in_flight.items() if other.number < flight.number]:
                self._dialect.accept(subscription, subscription.in_flight.pop(nonce))
        if request.error is None:
            self._dialect.accept(subscription, flight)
            self._events.append(Acked(flight.response, now - flight.sent_at))
        else:
            self._dialect.refuse(subscription, flight, request.error, self._offered[subscription.type_url])
            self._gate.refused(subscription.type_url, flight.response.resources)
            if self._lingering and self.target is not None:
                # What it has never accepted need not be kept for it, and would be refused again.
                self._offer_with_leaving(self.target)
            self._events.append(Nacked(flight.response, request.error, now - flight.sent_at))
        if subscription.type_url == CLUSTER:
            for other in self._subscriptions.values():
                other.dirty |= bool(other.held)

    def _is_free(self, type_url: str) -> bool:
        """Updates of this type may go out now."""
        return self._only is not None or type_url in SUPPLIES or not self._gate.is_closed(SUPPLIES, self._subscriptions)

    def _advance(self, target: Snapshot, now: float) -> list[Response]:
        """Go as many steps as the gate lets through."""
        if self._only is not None:
            return self._emit([self._only], now)
        step = ""
        responses = self._emit(SUPPLIES, now)
        if self._gate.is_closed(SUPPLIES, self._subscriptions):
            waiting = not self._users_follow or any(self._subscriptions[each].dirty for each in self._subscribed(USERS))
            step = "use" if waiting else ""
        else:
            if not self._users_follow:
                for type_url in USERS:
                    self._offer(type_url, target.of_type(type_url))
                self._users_follow = True
            responses += self._emit(USERS, now)
            if self._lingering and self._gate.is_closed(USERS, self._subscriptions):
                step = "clear"
            elif self._lingering and not self._has_refused(USERS):
                self._offer_supplies(target)
                responses += self._emit(SUPPLIES, now)
        self._gate.wait(step, now)
        return responses

    def _subscribed(self, type_urls: Iterable[str]) -> list[str]:
        return [type_url for type_url in type_urls if type_url in self._subscriptions]

    def _unsubscribed(self, type_urls: Iterable[str]) -> tuple[str, ...]:
        return tuple(type_url for type_url in type_urls if type_url not in self._subscriptions)

    def _has_refused(self, type_urls: Iterable[str]) -> bool:
        """A proxy that refused a route goes on with the former one, and needs what that one needs."""
        return any(
            self._subscriptions[each].refused or self._subscriptions[each].held for each in self._subscribed(type_urls)
        )

    def _users_are_settled(self, snapshot: Snapshot) -> bool:
        """Nothing that may use a cluster changes or is in question, so that clusters may go at once."""
        return all(
            self._subscriptions[each].settled and self._offered[each].version == snapshot.of_type(each).version
            for each in self._subscribed(USERS)
        )

    def _offer(self, type_url: str, offered: ResourceSet) -> None:
        changed = self._offered[type_url].version != offered.version
        self._offered[type_url] = offered
        if changed and type_url in self._subscriptions:
            self._dialect.reconsider(self._subscriptions[type_url], offered)

    def _offer_supplies(self, target: Snapshot, leaving: Mapping[str, Mapping[str, Resource]] = _NONE) -> None:
        for type_url in SUPPLIES:
            coming = target.of_type(type_url)
            also = leaving.get(type_url)
            self._offer(type_url, _united(coming.resources, also) if also else coming)
        self._lingering = any(leaving.values())

    def _offer_with_leaving(self, target: Snapshot) -> None:
        """Offer the coming clusters and endpoints, and those that the proxy may have and shall let go."""
        self._offer_supplies(target, {type_url: self._leaving(type_url, target) for type_url in SUPPLIES})

    def _leaving(self, type_url: str, target: Snapshot) -> Mapping[str, Resource]:
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            return {}
        coming = target.resources.get(type_url, {})
        had = subscription.acked.keys() | subscription.unanswered()
        return {
            name: subscription.accepted.get(name, resource) if name in subscription.refused else resource
            for name, resource in self._offered[type_url].resources.items()
            if name not in coming and name in had
        }

    def _offer_asked(self, subscription: Subscription, target: Snapshot) -> None:
        """A name that is asked for before its step is given at once if it comes, and not at all if it goes."""
        type_url = subscription.type_url
        if self._users_follow or not subscription.asked:
            return
        offered = self._offered[type_url].resources
        coming = target.resources.get(type_url, {})
        early = {name: coming[name] for name in subscription.asked if name in coming and name not in offered}
        going = {name for name in subscription.asked if name in offered and name not in coming}
        if type_url in SUPPLIES:
            going.clear()
        if early or going:
            staying = {name: resource for name, resource in offered.items() if name not in going}
            self._offer(type_url, _united(staying, early))

    def _lacks_cluster(self, resource: Resource) -> bool:
        """The proxy has refused a cluster that the resource sends traffic to, and has no former version of it."""
        clusters = self._subscriptions.get(CLUSTER)
        if clusters is None or not clusters.refused:
            return False
        return any(
            type_url == CLUSTER and name in clusters.refused and name not in clusters.acked
            for type_url, name in resource.needs
        )

    def _emit(self, type_urls: Iterable[str], now: float, *, updates: bool = True) -> list[Response]:
        responses: list[Response] = []
        for type_url in type_urls:
            subscription = self._subscriptions.get(type_url)
            if subscription is None:
                continue
            offered = self._offered[type_url]
            if self._only is None:
                subscription.asked |= self._gate.to_fetch(subscription, offered.resources)
            if subscription.asked or subscription.greeting or (updates and subscription.dirty):
                drafts = self._dialect.owed(subscription, offered, updates=updates, held=self._lacks_cluster)
                subscription.dirty &= not updates
                for draft in drafts:
                    responses += self._send(subscription, draft, now)
        return responses

    def _send(self, subscription: Subscription, draft: Draft, now: float) -> list[Response]:
        assert self.target is not None
        type_url = subscription.type_url
        offered = self._offered[type_url].version
        version = (draft.version or offered) if self._dialect.sets_have_versions else self.target.version
        response = Response(type_url, str(self._count + 1), version, draft.resources, draft.removed)
        size = _size(response)
        if self.limit is not None and size > self.limit and draft.resources:
            names = tuple(resource.name for resource in draft.resources)
            self._events.append(Oversized(type_url, names, size))
            unsent = Response(type_url, "", version, draft.resources)
            self._dialect.sending(subscription, unsent)
            message = f"{size} bytes exceed the {self.limit} that the client receives"
            flight = InFlight(unsent, self._offered[type_url].version, self._count, now)
            self._dialect.refuse(subscription, flight, message, self._offered[type_url])
            return self._send(subscription, Draft((), draft.removed), now) if draft.removed else []
        self._count += 1
        changed = [each for each in draft.resources if subscription.sent.get(each.name) != each.version]
        self._gate.expect(type_url, changed, self.target, self._subscriptions)
        self._gate.sent(type_url, draft.resources)
        self._dialect.sending(subscription, response)
        subscription.in_flight[response.nonce] = InFlight(response, offered, self._count, now)
        if len(subscription.in_flight) > _UNANSWERED + 2 * len(subscription.sent):
            # The client answers nothing; its late answers will be to unknown nonces.
            del subscription.in_flight[next(iter(subscription.in_flight))]
        subscription.last_nonce = response.nonce
        return [response]


def _united(some: Mapping[str, Resource], others: Mapping[str, Resource]) -> ResourceSet:
    resources = dict(sorted({**some, **others}.items()))
    version = digest_of((resource.name, resource.version) for resource in resources.values())
    return ResourceSet(version, MappingProxyType(resources))


def _size(response: Response) -> int:
    return (
        _RESPONSE_OVERHEAD
        + sum(len(each.body) + 2 * len(each.name) + _RESOURCE_OVERHEAD for each in response.resources)
        + sum(len(name) + 8 for name in response.removed)
    )
