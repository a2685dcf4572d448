"""The state-of-the-world dialect: every request holds the whole subscription, and one nonce counts, the last.

Listeners, clusters and scoped routes are sent as complete sets, because the client deletes what a response leaves
out. For the other types a response holds what changed and what was newly asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xds.protocol.dialect import Draft, refusal
from xds.protocol.messages import WILDCARD, Response, SotwRequest
from xds.protocol.subscription import FULL_STATE_TYPES, WILDCARD_TYPES, Subscription
from xds.snapshot import Resource, ResourceSet


class Sotw:
    """A `Dialect` without state."""

    sets_have_versions = True

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
            subscription.names, subscription.wildcard = names, wildcard
            subscription.forget_uncovered()
            subscription.dirty = True

    def owed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> Sequence[Draft]:
        if updates:
            subscription.held.clear()
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
        if subscription.greeting and subscription.claimed == offered.version and not subscription.asked:
            # The client runs exactly this already: it has reconnected.
            subscription.sent, subscription.acked = versions, dict(versions)
            subscription.accepted = {resource.name: resource for resource in resources}
            return []
        due = subscription.asked or subscription.greeting or (updates and versions != subscription.sent)
        return [Draft(tuple(resources))] if due else []

    def _acceptable(self, subscription: Subscription, offered: ResourceSet) -> list[Resource]:
        """The complete set, with what the client last accepted in place of what alone it has refused."""
        resources = []
        for resource in subscription.covered(offered.resources):
            refused = subscription.refused.get(resource.name)
            if refused is None or not refused.sole or resource.name in subscription.asked:
                resources.append(resource)
            elif resource.name in subscription.accepted:
                resources.append(subscription.accepted[resource.name])
        return resources

    def _changed(
        self, subscription: Subscription, offered: ResourceSet, *, updates: bool, held: Callable[[Resource], bool]
    ) -> list[Draft]:
        due: list[Resource] = []
        for resource in subscription.covered(offered.resources):
            if resource.name in subscription.asked or subscription.greeting:
                due.append(resource)
            elif updates and subscription.sent.get(resource.name) != resource.version:
                if held(resource):
                    subscription.held.add(resource.name)
                else:
                    due.append(resource)
        return [Draft(tuple(due))] if due or subscription.greeting else []

    def sending(self, subscription: Subscription, response: Response) -> None:
        versions = {resource.name: resource.version for resource in response.resources}
        if subscription.type_url in FULL_STATE_TYPES:
            subscription.sent = versions
        else:
            subscription.sent.update(versions)
        for name, version in versions.items():
            if name in subscription.refused and subscription.refused[name].version == version:
                del subscription.refused[name]

    def accept(self, subscription: Subscription, response: Response) -> None:
        versions = {resource.name: resource.version for resource in response.resources}
        if subscription.type_url in FULL_STATE_TYPES:
            subscription.acked = {name: version for name, version in versions.items() if subscription.covers(name)}
            subscription.accepted = {resource.name: resource for resource in response.resources}
        else:
            subscription.acked.update(item for item in versions.items() if subscription.covers(item[0]))

    def refuse(self, subscription: Subscription, response: Response, message: str) -> None:
        found = refusal(response, subscription, message)
        subscription.refused.update(found)
        if subscription.type_url not in FULL_STATE_TYPES:
            return
        for name, one in found.items():
            if one.sole:
                # The client goes on with what it accepted of it, and `_acceptable` will offer the same.
                if name in subscription.accepted:
                    subscription.sent[name] = subscription.accepted[name].version
                else:
                    subscription.sent.pop(name, None)

    def reconsider(self, subscription: Subscription, offered: ResourceSet) -> None:
        for name in subscription.reconsider(offered.resources):
            # Its resources have changed since the refusal: they are sent, also when they went back.
            subscription.sent.pop(name, None)
