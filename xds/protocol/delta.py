"""The incremental dialect: each resource has a version of its own, and absence is said aloud.

Every resource travels in a response of its own. A NACK's text often lacks the name, and an Envoy that refuses one
resource of a response drops the good ones beside it; alone, the nonce names the culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from xds.protocol.dialect import Draft, refusal
from xds.protocol.messages import WILDCARD, DeltaRequest, Response
from xds.protocol.subscription import (
    ABSENT,
    ALIASED_TYPES,
    KEPT_WHILE_SUBSCRIBED,
    WILDCARD_TYPES,
    InFlight,
    Refusal,
    Subscription,
)
from xds.snapshot import VIRTUAL_HOST, Resource, ResourceSet

# An Envoy subscribes to virtual hosts without a name, and is not ready before it hears of one (envoy#23095, #46641).
_WILDCARD_TYPES: Final = WILDCARD_TYPES | {VIRTUAL_HOST}


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
            subscription.wildcard = subscription.greeting = subscription.type_url in _WILDCARD_TYPES
        for name in request.subscribe:
            self._add(subscription, name)
        for name in request.unsubscribe:
            self._drop(subscription, name)
        if first:
            for name, version in request.initial_versions.items():
                if subscription.covers(name):
                    subscription.sent[name] = subscription.acked[name] = version
                    subscription.asked.discard(name)
                    subscription.inherited.add(name)
        subscription.dirty |= first or bool(request.subscribe or request.unsubscribe)

    def _add(self, subscription: Subscription, name: str) -> None:
        if name == WILDCARD:
            if subscription.wildcard:
                # Asked again, everything is sent again, like a name that is asked for again.
                subscription.asked |= subscription.sent.keys()
            subscription.wildcard = subscription.greeting = True
        else:
            subscription.add(name)
            subscription.asked.add(name)

    def _drop(self, subscription: Subscription, name: str) -> None:
        if name == WILDCARD:
            subscription.wildcard = subscription.greeting = False
            subscription.forget_uncovered()
        elif name in subscription.names:
            subscription.drop(name)
            if subscription.wildcard:
                # The client let go of it, although the wildcard still covers it: it must hear what it is.
                subscription.asked.add(name)

    def owed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> Sequence[Draft]:
        due: list[Resource] = []
        subscription.reach(offered.resources)
        candidates = subscription.candidates(offered.resources)
        if updates:
            subscription.held.clear()
        for resource in candidates:
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
        gone, unresolved = self._missing(subscription, offered)
        if updates:
            gone += self._deleted(subscription, offered)
        drafts = [Draft((resource,)) for resource in due]
        if gone or unresolved:
            # On the first response, so that a rename is one step for the client.
            drafts[:1] = [Draft(tuple(due[:1]), tuple(sorted(gone)), unresolved)]
        elif not drafts and subscription.greeting:
            drafts = [Draft()]
        subscription.asked.clear()
        subscription.greeting = False
        return drafts

    def _missing(self, subscription: Subscription, offered: ResourceSet) -> tuple[list[str], tuple[str, ...]]:
        """Of what was asked for: what is to be taken away, and what nothing bears."""
        missing = [
            name for name in subscription.asked if name not in offered.resources or not subscription.covers(name)
        ]
        if subscription.type_url in KEPT_WHILE_SUBSCRIBED:
            # The client has it, and can only go on with it.
            missing = [name for name in missing if name not in subscription.sent]
        if subscription.type_url not in ALIASED_TYPES or not subscription.of_envoy:
            return missing, ()
        # An Envoy holds requests until it hears of a host that it asked for; that a name is gone would not tell it.
        unresolved = subscription.names.intersection(missing)
        return [name for name in missing if name not in unresolved], tuple(sorted(unresolved))

    def _has_or_refused(self, subscription: Subscription, resource: Resource) -> bool:
        refused = subscription.refused.get(resource.name)
        return subscription.sent.get(resource.name) == resource.version or (
            refused is not None and refused.version == resource.version
        )

    def _deleted(self, subscription: Subscription, offered: ResourceSet) -> list[str]:
        if subscription.type_url in KEPT_WHILE_SUBSCRIBED:
            return []
        # What an alias no longer leads to goes too; of other types nothing is ever sent that is not subscribed to.
        aliased = subscription.type_url in ALIASED_TYPES
        names = subscription.sent if subscription.dirty or aliased else subscription.moved & subscription.sent.keys()
        return [
            name
            for name in names
            if (name not in offered.resources or (aliased and not subscription.covers(name)))
            and name not in subscription.asked
            and name not in subscription.refused
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
                subscription.moved.add(resource.name)
                if refused.version == resource.version:
                    del subscription.refused[resource.name]
        for name in flight.response.removed:
            subscription.acked.pop(name, None)
            if name in subscription.refused:
                subscription.sent.pop(name, None)
                subscription.moved.add(name)

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
