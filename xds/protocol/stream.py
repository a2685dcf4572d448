"""One xDS stream of one proxy: methods take what arrived and return what to send, in order.

On an aggregated stream a change goes out in three steps, so that no proxy ever routes to what it does not have:

1. clusters and endpoints, with those that shall go still among them;
2. once the proxy has answered these, listeners, routes and all else;
3. once it has answered those too, and `linger` seconds have passed for requests that were under way, the removal of
   clusters and endpoints.

A proxy that does not answer within `patience` seconds is waited for no longer. What a proxy asks for by name is never
kept waiting: it may be warming. A stream of a single type knows no other type to wait for, and has one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, Generic

from xds.protocol.dialect import Dialect, Draft, RequestT
from xds.protocol.gate import SUPPLIES, USERS, Gate, fetched
from xds.protocol.lifetimes import Lifetimes
from xds.protocol.messages import (
    ENVOY,
    WRAPPED_RESOURCES,
    Acked,
    ClustersTaken,
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
from xds.protocol.offer import Offer
from xds.protocol.sizes import parts_of, size_of, unfit
from xds.protocol.sotw import taken_of
from xds.protocol.subscription import FULL_STATE_TYPES, InFlight, Subscription
from xds.snapshot import CLUSTER, ENDPOINT, PUSH_ORDER, Resource, Snapshot

PATIENCE_SECONDS: Final = 5.0

# How many responses beyond two per resource may await an answer.
_UNANSWERED: Final = 100
# How many names may be in those that await an answer, where one of them holds so many that it matters.
_UNANSWERED_NAMES: Final = 500_000
_MANY_NAMES: Final = 1_000


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
        linger: float = 0.0,
    ) -> None:
        self.node: Node | None = None
        self.target: Snapshot | None = None
        self.limit = limit
        self._dialect = dialect
        self._only = only
        self._subscriptions: dict[str, Subscription] = {}
        self._offer = Offer(dialect, self._subscriptions, linger)
        self._gate = Gate(patience)
        self._lifetimes = Lifetimes(whole_sets=dialect.sets_have_versions)
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
        lifetimes = self._lifetimes.deadline if self.target is not None else None
        times = (self._gate.deadline, self._offer.deadline, lifetimes)
        return min((time for time in times if time is not None), default=None)

    @property
    def live(self) -> bool:
        """The proxy has accepted everything of the target that it subscribes to; what it has beside it is not used."""
        if self.target is None or not self._subscriptions or not self._offer.users_follow:
            return False
        # Asked several times for each answer of each proxy, and so no generator.
        for subscription in self._subscriptions.values():  # noqa: SIM110
            if not subscription.settled:
                return False
        return True

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
        of_envoy = self.node is not None and self.node.user_agent == ENVOY
        subscription = self._subscriptions.setdefault(type_url, Subscription(type_url, of_envoy))
        if not first:
            self._settle(subscription, request, now)
        if self._dialect.is_stale(subscription, request):
            # It answers what has been superseded, and what it subscribes to has been said anew since.
            return []
        self._dialect.subscribe(subscription, request, first=first)
        if self.target is None:
            return []
        self._offer.asked(subscription, self.target)
        responses = self._emit([type_url], now, updates=self._is_free(type_url))
        return responses + self._advance(self.target, now)

    def publish(self, snapshot: Snapshot, now: float) -> list[Response]:
        """Start towards another snapshot, from wherever the steps towards the last one are."""
        first, self.target = self.target is None, snapshot
        self._gate.keep(snapshot)
        self._offer.take_up(snapshot, at_once=first or self._only is not None)
        responses: list[Response] = []
        if first:
            # Before the first snapshot requests were kept, and their answers wait for nothing.
            for type_url in PUSH_ORDER:
                responses += self._emit([type_url], now, updates=self._is_free(type_url))
        return responses + self._advance(snapshot, now)

    def tick(self, now: float) -> list[Response]:
        """Go on without overdue answers, remove what has lingered, and renew what the proxy would soon forget."""
        if self.target is None:
            return []
        responses: list[Response] = []
        if self._gate.deadline is not None and now >= self._gate.deadline:
            late = tuple(type_url for type_url, each in self._subscriptions.items() if each.in_flight)
            self._gate.expire(self._count)
            responses += self._advance(self.target, now)
            if responses:
                self._events.append(GateExpired(late))
        if self._offer.deadline is not None and now >= self._offer.deadline:
            # Should the proxy have something to answer first, its answer is what goes on from here.
            self._offer.deadline = None
            responses += self._advance(self.target, now)
        for type_url in self._lifetimes.due(now):
            responses += self._keep_alive(self._subscriptions[type_url], now)
        return responses

    def supplied(self, names: Iterable[str], now: float) -> list[Response]:
        """Send these endpoints again, as far as the proxy has them: it accepted their clusters on another stream.

        An aggregated stream sees to that itself.
        """
        subscription = self._subscriptions.get(ENDPOINT)
        if self.target is None or subscription is None:
            return []
        offered = self._offer.of_type(ENDPOINT).resources
        subscription.asked |= {name for name in names if name in subscription.sent and name in offered}
        return self._advance(self.target, now) if subscription.asked else []

    def _broken_rule(self, request: RequestT, type_url: str) -> str:
        node = request.node
        if self.node is None and (node is None or not node.id):
            return "the first request of a stream must hold a node with an id"
        if self.node and node and node.id and (node.id, node.cluster) != (self.node.id, self.node.cluster):
            return f"this stream belongs to node {self.node.id!r} of {self.node.cluster!r}"
        if not type_url:
            return "a request on an aggregated stream must hold a type_url"
        if self._only is not None and type_url != self._only:
            # As much of it as a status may hold.
            return f"this stream serves {self._only}, not {type_url[:200]!r}"
        return ""

    def _settle(self, subscription: Subscription, request: RequestT, now: float) -> None:
        """Take the request as an answer, if it is one to a response or a heartbeat that is in flight."""
        if not request.nonce:
            return
        type_url = subscription.type_url
        flight = subscription.in_flight.pop(request.nonce, None)
        beat = subscription.beats.pop(request.nonce, None)
        stale = request.nonce != subscription.last_nonce and (self._dialect.in_order or flight is None)
        if stale and beat is None:
            self._events.append(StaleNonce(type_url))
        if flight is not None:
            self._take_answer(subscription, flight, request.error)
        elif beat is not None and request.error is not None:
            # It no longer has what it was to keep.
            subscription.asked |= {resource.name for resource in beat.response.resources}
        self._lifetimes.answered(type_url, now)
        if answered := flight or beat:
            seconds = now - answered.sent_at
            told = answered.response
            self._events.append(Acked(told, seconds) if request.error is None else Nacked(told, request.error, seconds))

    def _take_answer(self, subscription: Subscription, flight: InFlight, error: str | None) -> None:
        if self._dialect.in_order:
            for nonce in [nonce for nonce, other in subscription.in_flight.items() if other.number < flight.number]:
                self._accept(subscription, subscription.in_flight.pop(nonce))
            for nonce in [nonce for nonce, other in subscription.beats.items() if other.number < flight.number]:
                del subscription.beats[nonce]
        if error is None:
            self._accept(subscription, flight)
        else:
            self._dialect.refuse(subscription, flight, error, self._offer.of_type(subscription.type_url))
            self._gate.refused(subscription.type_url, flight.response.resources)
            if self._offer.lingering and self.target is not None:
                # What it has never accepted need not be kept for it, and would be refused again.
                self._offer.supplies_with_leaving(self.target)
        if subscription.type_url == CLUSTER:
            for other in self._subscriptions.values():
                other.dirty |= bool(other.held)

    def _accept(self, subscription: Subscription, flight: InFlight) -> None:
        if self._only == CLUSTER:
            new = [each for each in flight.response.resources if subscription.acked.get(each.name) != each.version]
            if awaited := tuple(name for each in new for name in fetched(ENDPOINT, each)):
                self._events.append(ClustersTaken(awaited))
        self._dialect.accept(subscription, flight)
        subscription.version = flight.response.version
        self._lifetimes.accepted(flight)

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
            waiting = not self._offer.users_follow or any(
                self._subscriptions[each].pending for each in self._subscribed(USERS)
            )
            step = "use" if waiting else ""
        else:
            if not self._offer.users_follow:
                self._offer.users(target)
            responses += self._emit(USERS, now)
            if self._offer.lingering and self._gate.is_closed(USERS, self._subscriptions):
                step = "clear"
            elif self._offer.lingering and not self._has_refused(USERS):
                self._offer.let_go(target, now)
                responses += self._emit(SUPPLIES, now)
        self._gate.wait(step, now)
        return responses

    def _subscribed(self, type_urls: Iterable[str]) -> list[str]:
        return [type_url for type_url in type_urls if type_url in self._subscriptions]

    def _has_refused(self, type_urls: Iterable[str]) -> bool:
        """A proxy that refused a route goes on with the former one, and needs what that one needs."""
        return any(
            self._subscriptions[each].refused or self._subscriptions[each].held for each in self._subscribed(type_urls)
        )

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
            offered = self._offer.of_type(type_url)
            if self._only is None:
                subscription.asked |= self._gate.to_fetch(subscription, offered.resources)
            if subscription.asked or subscription.greeting or (updates and subscription.pending):
                drafts = self._dialect.owed(subscription, offered, updates=updates, held=self._lacks_cluster)
                if updates:
                    subscription.dirty = False
                    subscription.moved.clear()
                for draft in drafts:
                    for part in [draft] if self._is_undivided(type_url) else parts_of(draft, self.limit):
                        responses += self._send(subscription, part, now)
            if subscription.inherited:
                self._lifetimes.inherited(subscription, offered.resources, now)
        return responses

    def _send(self, subscription: Subscription, draft: Draft, now: float) -> list[Response]:
        assert self.target is not None
        type_url = subscription.type_url
        if self.limit is not None and draft.resources and (size := size_of(draft)) > self.limit:
            return self._withhold(subscription, draft, size, now)
        changed = [each for each in draft.resources if subscription.sent.get(each.name) != each.version]
        self._gate.expect(type_url, changed, self.target, self._subscriptions)
        self._gate.sent(type_url, draft.resources)
        response = self._response(type_url, draft)
        self._dialect.sending(subscription, response)
        subscription.in_flight[response.nonce] = self._flight(response, now)
        if len(subscription.in_flight) > _UNANSWERED + 2 * len(subscription.sent):
            # The client answers nothing; its late answers will be to unknown nonces.
            del subscription.in_flight[next(iter(subscription.in_flight))]
        if response.mentions > _MANY_NAMES:
            subscription.forget_flights(_UNANSWERED_NAMES)
        subscription.last_nonce = response.nonce
        return [response]

    def _withhold(self, subscription: Subscription, draft: Draft, size: int, now: float) -> list[Response]:
        """Take for refused what makes the draft more than the client can receive; send what is left to be sent."""
        assert self.limit is not None
        type_url = subscription.type_url
        undivided = self._is_undivided(type_url)
        unsent = unfit(draft, self.limit, taken_of(subscription)) if undivided else draft.resources
        self._events.append(Oversized(type_url, tuple(resource.name for resource in unsent), size))
        message = f"{size} bytes exceed the {self.limit} that the client receives"
        for resource in unsent:
            # Each is known to be too much, so each is refused on its own.
            alone = Response(type_url, "", draft.version, (resource,))
            if not undivided:
                self._dialect.sending(subscription, alone)
            self._dialect.refuse(subscription, self._flight(alone, now), message, self._offer.of_type(type_url))
        if not undivided or not unsent or any(each.name not in subscription.refused for each in unsent):
            return []
        subscription.dirty = True
        return self._emit([type_url], now, updates=self._is_free(type_url))

    def _is_undivided(self, type_url: str) -> bool:
        """A response of this type holds all that the client shall have."""
        return self._dialect.sets_have_versions and type_url in FULL_STATE_TYPES

    def _keep_alive(self, subscription: Subscription, now: float) -> list[Response]:
        offered = self._offer.of_type(subscription.type_url).resources
        responses: list[Response] = []
        for beat in self._lifetimes.beats(subscription, offered, now):
            whole = Draft(beat.resources, version=subscription.version)
            for part in parts_of(whole, self.limit, bare=beat.bare):
                response = replace(self._response(subscription.type_url, part), heartbeat=True, bare=beat.bare)
                subscription.beats[response.nonce] = self._flight(response, now)
                subscription.last_nonce = response.nonce
                responses.append(response)
        if subscription.asked:
            responses += self._emit([subscription.type_url], now, updates=self._is_free(subscription.type_url))
        return responses

    def _response(self, type_url: str, draft: Draft) -> Response:
        assert self.target is not None
        self._count += 1
        whole_sets = self._dialect.sets_have_versions
        version = (draft.version or self._offer.of_type(type_url).version) if whole_sets else self.target.version
        wrapped = whole_sets and self.node is not None and WRAPPED_RESOURCES in self.node.client_features
        return Response(
            type_url,
            str(self._count),
            version,
            draft.resources,
            draft.removed,
            draft.unresolved,
            wrapped=wrapped and any(resource.ttl is not None for resource in draft.resources),
        )

    def _flight(self, response: Response, now: float) -> InFlight:
        return InFlight(response, self._offer.of_type(response.type_url).version, self._count, now)
