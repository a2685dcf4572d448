"""The incremental dialect: each resource has a version of its own, and absence is said aloud.

Every resource travels in a response of its own. A NACK's text often lacks the name, and an Envoy that refuses one
resource of a response drops the good ones beside it; alone, the nonce names the culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xds.protocol.dialect import Draft, refusal
from xds.protocol.messages import WILDCARD, DeltaRequest, Response
from xds.protocol.subscription import ABSENT, KEPT_WHILE_SUBSCRIBED, WILDCARD_TYPES, InFlight, Refusal, Subscription
from xds.snapshot import Resource, ResourceSet


class Delta:
    """A `Dialect` without state."""

    name = "delta"
    sets_have_versions = False
    in_order = False

    def is_stale(self, subscription: Subscription, request: DeltaRequest) -> bool:
        # A request is self-contained: its nonce says what it answers, and never whether it counts.
        return False

    def subscribe(self, subscription: Subscription, request: DeltaRequest, *, first: bool) -> None:
        if first and not request.subscribe and not request.unsubscribe:
            subscription.wildcard = subscription.greeting = subscription.type_url in WILDCARD_TYPES
        for name in request.subscribe:
            self._add(subscription, name)
        for name in request.unsubscribe:
            self._drop(subscription, name)
        if first:
            for name, version in request.initial_versions.items():
                if subscription.covers(name):
                    subscription.sent[name] = subscription.acked[name] = version
                    subscription.asked.discard(name)
        subscription.dirty |= first or bool(request.subscribe or request.unsubscribe)

    def _add(self, subscription: Subscription, name: str) -> None:
        if name == WILDCARD:
            if subscription.wildcard:
                # Asked again, everything is sent again, like a name that is asked for again.
                subscription.asked |= subscription.sent.keys()
            subscription.wildcard = subscription.greeting = True
        else:
            subscription.names.add(name)
            subscription.asked.add(name)

    def _drop(self, subscription: Subscription, name: str) -> None:
        if name == WILDCARD:
            subscription.wildcard = subscription.greeting = False
            subscription.forget_uncovered()
        elif name in subscription.names:
            subscription.names.discard(name)
            subscription.forget(name)
            if subscription.wildcard:
                # The client let go of it, although the wildcard still covers it: it must hear what it is.
                subscription.asked.add(name)

    def owed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> Sequence[Draft]:
        due: list[Resource] = []
        if updates:
            subscription.held.clear()
        for resource in subscription.covered(offered.resources):
            if resource.name in subscription.asked:
                due.append(resource)
            elif self._has_or_refused(subscription, resource):
                continue
            elif subscription.greeting and resource.name not in subscription.sent:
                due.append(resource)
            elif updates:
                if held(resource):
                    subscription.held.add(resource.name)
                else:
                    due.append(resource)
        gone = [name for name in subscription.asked if name not in offered.resources]
        if updates:
            gone += self._deleted(subscription, offered)
        drafts = [Draft((resource,)) for resource in due]
        if gone:
            # On the first response, so that a rename is one step for the client.
            drafts[:1] = [Draft(tuple(due[:1]), tuple(sorted(gone)))]
        elif not drafts and subscription.greeting:
            drafts = [Draft()]
        subscription.asked.clear()
        subscription.greeting = False
        return drafts

    def _has_or_refused(self, subscription: Subscription, resource: Resource) -> bool:
        refused = subscription.refused.get(resource.name)
        return subscription.sent.get(resource.name) == resource.version or (
            refused is not None and refused.version == resource.version
        )

    def _deleted(self, subscription: Subscription, offered: ResourceSet) -> list[str]:
        if subscription.type_url in KEPT_WHILE_SUBSCRIBED:
            return []
        return [
            name
            for name in subscription.sent
            if name not in offered.resources and name not in subscription.asked and name not in subscription.refused
        ]

    def sending(self, subscription: Subscription, response: Response) -> None:
        for resource in response.resources:
            subscription.sent[resource.name] = resource.version
            subscription.refused.pop(resource.name, None)
        for name in response.removed:
            subscription.sent.pop(name, None)
            subscription.refused.pop(name, None)

    def accept(self, subscription: Subscription, flight: InFlight) -> None:
        for resource in flight.response.resources:
            if not subscription.covers(resource.name):
                continue
            subscription.acked[resource.name] = resource.version
            if refused := subscription.refused.get(resource.name):
                # An older response, answered after the refusal of a newer one: this is what the client runs.
                subscription.sent[resource.name] = resource.version
                if refused.version == resource.version:
                    del subscription.refused[resource.name]
        for name in flight.response.removed:
            subscription.acked.pop(name, None)
            if name in subscription.refused:
                subscription.sent.pop(name, None)

    def refuse(self, subscription: Subscription, flight: InFlight, message: str, offered: ResourceSet) -> None:
        response = flight.response
        later = subscription.unanswered(after=flight.number)
        for name, found in refusal(response, subscription, message).items():
            if subscription.sent.get(name) == found.version and name not in later:
                subscription.refused[name] = found
                self._fall_back(subscription, name)
        for name in response.removed:
            if name in subscription.sent or name in later or not subscription.covers(name):
                continue
            self._fall_back(subscription, name)
            if flight.offered != offered.version:
                subscription.dirty = True
            elif name in subscription.sent or not response.resources:
                # A name that the client never had is only missing; what it was said along with was refused.
                subscription.refused[name] = Refusal(ABSENT, message, None, sole=not response.resources)

    def _fall_back(self, subscription: Subscription, name: str) -> None:
        if name in subscription.acked:
            subscription.sent[name] = subscription.acked[name]
        else:
            subscription.sent.pop(name, None)

    def reconsider(self, subscription: Subscription, offered: ResourceSet) -> None:
        # A return to what the client runs needs no sending: `sent` fell back to it at the refusal.
        subscription.reconsider(offered.resources)
