"""Heartbeats: a proxy forgets a resource with a TTL (`Resource.ttl`) unless it hears of it again in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from xds.protocol.subscription import (
    ALIASED_TYPES,
    FULL_STATE_TYPES,
    KEPT_WHILE_SUBSCRIBED,
    InFlight,
    Subscription,
)
from xds.snapshot import Resource

# After this part of a TTL it is renewed, so that one heartbeat may be lost and another late.
_PART: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat to send. `bare`: the resources need not be repeated, their names and versions will do."""

    resources: tuple[Resource, ...]
    bare: bool


class Lifetimes:
    """What the proxy of one stream has accepted and would forget. `whole_sets`: it speaks state of the world."""

    def __init__(self, *, whole_sets: bool) -> None:
        self._whole_sets = whole_sets
        self._kept: dict[str, dict[str, Resource]] = {}
        self._due: dict[tuple[str, str], float] = {}

    @property
    def deadline(self) -> float | None:
        """When the next heartbeat is due. What a proxy has yet to answer is not due before it does."""
        return min(self._due.values(), default=None)

    def accepted(self, flight: InFlight) -> None:
        """The proxy's clock for a resource began to run after the response was sent."""
        has_ttls = flight.response.wrapped or not self._whole_sets
        type_url = flight.response.type_url
        for name in flight.response.removed:
            self._forget(type_url, name)
        for resource in flight.response.resources:
            self._forget(type_url, resource.name)
            if has_ttls and resource.ttl is not None:
                self._keep(type_url, resource, flight.sent_at + resource.ttl * _PART)

    def inherited(self, subscription: Subscription, offered: Mapping[str, Resource], now: float) -> None:
        """What the proxy had when it connected, and nobody knows for how long still, is due at once."""
        for name in list(subscription.inherited):
            resource, version = offered.get(name), subscription.acked.get(name)
            if resource is None and version is not None:
                # It shall go, and may yet come back before the proxy is told.
                continue
            subscription.inherited.discard(name)
            if resource is None or resource.ttl is None or version is None:
                continue
            if resource.version == version:
                self._keep(subscription.type_url, resource, now)
            elif self._goes_bare(subscription, name):
                # Should it refuse what is offered, it goes on with what it has. Nobody knows what that is any more, and
                # for a heartbeat nobody has to.
                self._keep(subscription.type_url, replace(resource, version=version, body=b""), now)

    def answered(self, type_url: str, now: float) -> None:
        """Something of this type was answered: what waited for that is due again."""
        for name in self._kept.get(type_url, ()):
            self._due.setdefault((type_url, name), now)

    def due(self, now: float) -> set[str]:
        """The types of which something is due."""
        return {type_url for (type_url, _), due in self._due.items() if due <= now}

    def beats(self, subscription: Subscription, offered: Mapping[str, Resource], now: float) -> list[Beat]:
        """The heartbeats of one type that are due, and those that soon would be along with them."""
        type_url = subscription.type_url
        if subscription.beats or (self._whole_sets and subscription.in_flight):
            # A newer response would make the answer to the older one count for nothing.
            waiting = set(self._kept.get(type_url, ()))
        else:
            waiting = subscription.unanswered()
        bare: list[Resource] = []
        whole: list[Resource] = []
        for name, resource in list(self._kept.get(type_url, {}).items()):
            part = (resource.ttl or 0.0) * _PART
            if name in waiting:
                self._due.pop((type_url, name), None)
            elif not self._is_kept(subscription, resource, offered):
                self._forget(type_url, name)
            elif self._due.get((type_url, name), now) <= now + part / 2:
                self._due[type_url, name] = now + part
                (bare if self._goes_bare(subscription, name) else whole).append(resource)
        if whole and self._whole_sets and type_url in FULL_STATE_TYPES:
            whole = list(subscription.accepted.values())
        return [Beat(tuple(each), is_bare) for each, is_bare in ((bare, True), (whole, False)) if each]

    def _is_kept(self, subscription: Subscription, resource: Resource, offered: Mapping[str, Resource]) -> bool:
        name, type_url = resource.name, subscription.type_url
        if not subscription.covers(name) or subscription.acked.get(name) != resource.version:
            return False
        present = offered.get(name)
        if present is not None and present.ttl is None and present.version == resource.version:
            # It never had a TTL but for the one that was guessed; to be sent again takes that away.
            subscription.asked.add(name)
            return False
        ends_in_silence = self._whole_sets and type_url not in FULL_STATE_TYPES | KEPT_WHILE_SUBSCRIBED
        if ends_in_silence and name not in offered:
            # The client learns that it is gone from its TTL, and must be sent it anew should it come back.
            subscription.acked.pop(name)
            subscription.sent.pop(name, None)
            return False
        return True

    def _goes_bare(self, subscription: Subscription, name: str) -> bool:
        """A name, a version and a TTL are enough.

        But not for Envoy 1.40: in state of the world it renews nothing by them, and takes a complete set of them for
        an empty one. It takes a bare virtual host for one that is missing, and of what it has by a collection's name
        it knows no versions.
        """
        if not subscription.of_envoy:
            return True
        if self._whole_sets or subscription.type_url in ALIASED_TYPES:
            return False
        return subscription.wildcard or name in subscription.names

    def _keep(self, type_url: str, resource: Resource, due: float) -> None:
        self._kept.setdefault(type_url, {})[resource.name] = resource
        self._due[type_url, resource.name] = due

    def _forget(self, type_url: str, name: str) -> None:
        self._kept.get(type_url, {}).pop(name, None)
        self._due.pop((type_url, name), None)
