"""The state-of-the-world dialect: every request holds the whole subscription, and one nonce counts, the last.

Listeners, clusters and scoped routes are sent as complete sets, because the client deletes what a response leaves
out. For the other types a response holds what changed and what was newly asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xds.protocol.dialect import Draft, refusal
from xds.protocol.messages import WILDCARD, Response, SotwRequest
from xds.protocol.subscription import FULL_STATE_TYPES, UNKNOWN, WILDCARD_TYPES, InFlight, Refusal, Subscription
from xds.snapshot import Resource, ResourceSet, digest_of


def taken_of(subscription: Subscription) -> Mapping[str, Resource]:
    """Of a type of complete sets, by name: what the client has, once it has taken what was sent last."""
    # Not the refused versions, but what was sent before these proved too large to send.
    flight = next(reversed(subscription.in_flight.values()), None)
    if flight is None:
        return subscription.accepted
    return {each.name: each for each in flight.response.resources}


class Sotw:
    """A `Dialect` without state."""

    name = "sotw"
    sets_have_versions = True
    in_order = True

    def is_stale(self, subscription: Subscription, request: SotwRequest) -> bool:
        # Before the first response a nonce can only be of an earlier stream, which is none.
        return bool(request.nonce and subscription.last_nonce and request.nonce != subscription.last_nonce)

    def subscribe(self, subscription: Subscription, request: SotwRequest, *, first: bool) -> None:
        names = set(request.names)
        legacy = not names and not subscription.explicit and subscription.type_url in WILDCARD_TYPES
        wildcard = WILDCARD in names or legacy
        subscription.explicit |= bool(names)
        names.discard(WILDCARD)
        if wildcard and not subscription.wildcard:
            subscription.greeting = True
            subscription.claimed = request.version if first else ""
        elif not wildcard:
            subscription.greeting = False
        if names != subscription.names or wildcard != subscription.wildcard:
            subscription.asked |= names - subscription.names
            subscription.name(names)
            subscription.wildcard = wildcard
            subscription.forget_uncovered()
            subscription.dirty = True

    def owed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> Sequence[Draft]:
        subscription.reach(offered.resources)
        if subscription.type_url in FULL_STATE_TYPES:
            drafts = self._complete(subscription, offered, updates=updates)
        else:
            drafts = self._changed(subscription, offered, updates=updates, held=held)
        subscription.asked.clear()
        subscription.greeting = False
        subscription.claimed = ""
        return drafts

    def _complete(self, subscription: Subscription, offered: ResourceSet, *, updates: bool) -> list[Draft]:
        resources = self._acceptable(subscription, offered)
        versions = {resource.name: resource.version for resource in resources}
        claimed = subscription.greeting and subscription.claimed == offered.version and not subscription.asked
        if claimed and all(resource.ttl is None for resource in resources):
            # The client runs exactly this already: it has reconnected. Of what has a TTL nobody knows how much is left.
            subscription.sent, subscription.acked = versions, dict(versions)
            subscription.accepted = {resource.name: resource for resource in resources}
            return []
        if not (subscription.asked or subscription.greeting or (updates and versions != subscription.sent)):
            return []
        replaced = resources != subscription.covered(offered.resources)
        return [Draft(tuple(resources), version=digest_of(versions.items()) if replaced else "")]

    def _acceptable(self, subscription: Subscription, offered: ResourceSet) -> list[Resource]:
        """The complete set, with what the client last took in place of what alone it has refused."""
        resources = []
        taken = taken_of(subscription)
        for resource in subscription.covered(offered.resources):
            refused = subscription.refused.get(resource.name)
            if refused is None or not refused.sole or resource.name in subscription.asked:
                resources.append(resource)
            elif resource.name in taken:
                resources.append(taken[resource.name])
        return resources

    def _changed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> list[Draft]:
        due: list[Resource] = []
        candidates = subscription.candidates(offered.resources)
        if updates:
            subscription.held.clear()
        for resource in candidates:
            if resource.name in subscription.asked or subscription.greeting:
                due.append(resource)
            elif updates and subscription.sent.get(resource.name) != resource.version:
                if held(resource):
                    subscription.held.add(resource.name)
                else:
                    due.append(resource)
        together = tuple(resource for resource in due if resource.name not in subscription.suspects)
        alone = [Draft((resource,)) for resource in due if resource.name in subscription.suspects]
        if together or (subscription.greeting and not alone):
            return [Draft(together), *alone]
        return alone

    def sending(self, subscription: Subscription, response: Response) -> None:
        versions = {resource.name: resource.version for resource in response.resources}
        if subscription.type_url in FULL_STATE_TYPES:
            subscription.sent = versions
            # What was in flight says nothing that this does not: only an answer to this one counts.
            subscription.in_flight.clear()
        else:
            subscription.sent.update(versions)
        for name, version in versions.items():
            if name in subscription.refused and subscription.refused[name].version == version:
                del subscription.refused[name]

    def accept(self, subscription: Subscription, flight: InFlight) -> None:
        resources = {each.name: each for each in flight.response.resources if subscription.covers(each.name)}
        versions = {name: resource.version for name, resource in resources.items()}
        if subscription.type_url in FULL_STATE_TYPES:
            subscription.acked, subscription.accepted = versions, resources
        else:
            subscription.acked.update(versions)
            subscription.suspects -= versions.keys()

    def refuse(self, subscription: Subscription, flight: InFlight, message: str, offered: ResourceSet) -> None:
        found = refusal(flight.response, subscription, message)
        subscription.suspects.update(name for name, one in found.items() if not one.sole)
        if all(self._is_offered(name, one, offered) for name, one in found.items()):
            subscription.refused.update(found)
            for name, one in found.items():
                if one.sole and subscription.sent.get(name) == one.version:
                    self._fall_back(subscription, name)
            return
        # What was refused may have changed since.
        for name, one in found.items():
            if subscription.sent.get(name) == one.version:
                subscription.sent[name] = UNKNOWN
        subscription.dirty = True

    def _is_offered(self, name: str, refused: Refusal, offered: ResourceSet) -> bool:
        return name in offered.resources and offered.resources[name].version == refused.version

    def _fall_back(self, subscription: Subscription, name: str) -> None:
        """The client goes on with what it accepted of a complete set, and `_acceptable` will offer the same."""
        if subscription.type_url not in FULL_STATE_TYPES:
            return
        if name in subscription.accepted:
            subscription.sent[name] = subscription.accepted[name].version
        else:
            subscription.sent.pop(name, None)

    def reconsider(self, subscription: Subscription, offered: ResourceSet) -> None:
        moved = subscription.reconsider(offered.resources)
        # Of those that were refused together some may be good; each is sent alone, so that this shows.
        moved |= {name: refusal for name, refusal in subscription.refused.items() if not refusal.sole}
        for name in moved:
            # The change is sent, also when it is back to what was or gone.
            subscription.refused.pop(name, None)
            subscription.sent[name] = UNKNOWN
            subscription.moved.add(name)
