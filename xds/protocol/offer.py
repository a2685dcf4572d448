"""What the subscribers of each type are given now: it follows the snapshot step by step."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Generic

from xds.protocol.dialect import Dialect, RequestT
from xds.protocol.gate import SUPPLIES, USERS
from xds.protocol.names import collection_of
from xds.protocol.subscription import Subscription
from xds.snapshot import (
    EMPTY_SET,
    LOCALITY_ENDPOINT,
    PUSH_ORDER,
    Resource,
    ResourceSet,
    Snapshot,
    changed_names,
    united,
)

_NONE: Final[Mapping[str, ResourceSet]] = MappingProxyType({})


class Offer(Generic[RequestT]):
    """`subscriptions` are the stream's, by type URL.

    `users_follow`: what sends traffic is that of the snapshot. `lingering`: clusters or endpoints that shall go are
    still among those that are offered; they go at `deadline`, `linger` seconds after nothing used them any more.
    """

    def __init__(
        self, dialect: Dialect[RequestT], subscriptions: Mapping[str, Subscription], linger: float = 0.0
    ) -> None:
        self.users_follow = True
        self.lingering = False
        self.deadline: float | None = None
        self._linger = linger
        # Type URL and name of what shall go, and since when the proxy has nothing that uses it.
        self._unused: dict[tuple[str, str], float] = {}
        self._dialect = dialect
        self._subscriptions = subscriptions
        self._sets: dict[str, ResourceSet] = dict.fromkeys(PUSH_ORDER, EMPTY_SET)

    def of_type(self, type_url: str) -> ResourceSet:
        return self._sets[type_url]

    def take_up(self, snapshot: Snapshot, *, at_once: bool) -> None:
        """Start towards a snapshot; `at_once` without steps."""
        self.lingering = False
        self.users_follow = at_once
        for type_url in PUSH_ORDER:
            if at_once or (type_url not in self._subscriptions and type_url not in SUPPLIES):
                self._set(type_url, snapshot.of_type(type_url))
        self.deadline = None
        wanted = snapshot.resources
        self._unused = {key: since for key, since in self._unused.items() if key[1] not in wanted.get(key[0], ())}
        if at_once:
            return
        if self._may_go_at_once(snapshot):
            self.supplies(snapshot)
        else:
            self.supplies_with_leaving(snapshot)

    def users(self, target: Snapshot) -> None:
        """Offer what sends traffic."""
        for type_url in USERS:
            self._set(type_url, target.of_type(type_url))
        self.users_follow = True

    def supplies(self, target: Snapshot, leaving: Mapping[str, ResourceSet] = _NONE) -> None:
        """Offer the clusters and endpoints, and with them those that shall go."""
        for type_url in SUPPLIES:
            coming = target.of_type(type_url)
            also = leaving.get(type_url, EMPTY_SET)
            self._set(type_url, united(coming, also) if also.resources else coming)
        self.lingering = any(each.resources for each in leaving.values())

    def supplies_with_leaving(self, target: Snapshot) -> None:
        """Offer the coming clusters and endpoints, and those that the proxy may have and shall let go."""
        self.supplies(target, {type_url: self._leaving(type_url, target) for type_url in SUPPLIES})

    def let_go(self, target: Snapshot, now: float) -> None:
        """Nothing that the proxy runs uses what shall go: offer it until its time has come, and no longer.

        A request may have chosen its route before the proxy took the new one, and reach the cluster only when it has
        been authorized and its body is there.
        """
        leaving: dict[str, ResourceSet] = {}
        unused: dict[tuple[str, str], float] = {}
        for type_url in SUPPLIES:
            staying = []
            for name, resource in self._leaving(type_url, target).resources.items():
                since = self._unused.get((type_url, name), now)
                if now < since + self._linger:
                    unused[type_url, name] = since
                    staying.append(resource)
            leaving[type_url] = ResourceSet.of(staying) if staying else EMPTY_SET
        self._unused = unused
        self.deadline = min(unused.values()) + self._linger if unused else None
        self.supplies(target, leaving)

    def asked(self, subscription: Subscription, target: Snapshot) -> None:
        """A name that is asked for before its step is given at once if it comes, and not at all if it goes."""
        if self.users_follow or not subscription.asked:
            return
        type_url = subscription.type_url
        offered = self._sets[type_url].resources
        coming = target.resources.get(type_url, {})
        subscription.reach(coming)
        early = {name: coming[name] for name in subscription.asked if name in coming and name not in offered}
        going = {name for name in subscription.asked if name in offered and name not in coming}
        if type_url in SUPPLIES:
            going.clear()
        if early or going:
            staying = {name: resource for name, resource in offered.items() if name not in going}
            self._set(type_url, ResourceSet.of({**staying, **early}.values()))

    def _set(self, type_url: str, offered: ResourceSet) -> None:
        before, self._sets[type_url] = self._sets[type_url], offered
        if before.version != offered.version and type_url in self._subscriptions:
            subscription = self._subscriptions[type_url]
            subscription.moved |= changed_names(before, offered)
            self._dialect.reconsider(subscription, offered)

    def _may_go_at_once(self, snapshot: Snapshot) -> bool:
        """Nothing that may use a cluster changes, is in question, or was in use a moment ago."""
        users = [each for each in USERS if each in self._subscriptions]
        return not users or (
            self._linger == 0
            and all(
                self._subscriptions[each].settled and self._sets[each].version == snapshot.of_type(each).version
                for each in users
            )
        )

    def _leaving(self, type_url: str, target: Snapshot) -> ResourceSet:
        subscription = self._subscriptions.get(type_url)
        if subscription is None:
            return EMPTY_SET
        coming, offered = target.of_type(type_url), self._sets[type_url]
        unanswered = subscription.unanswered()
        # Of a locality that stays, an endpoint may go at once.
        staying = {collection_of(name) for name in coming.resources} if type_url == LOCALITY_ENDPOINT else ()
        leaving: list[Resource] = []
        for name in changed_names(offered, coming):
            has = name in subscription.acked or name in unanswered
            if has and name not in coming.resources and collection_of(name) not in staying:
                resource = offered.resources[name]
                leaving.append(subscription.accepted.get(name, resource) if name in subscription.refused else resource)
        return ResourceSet.of(leaving) if leaving else EMPTY_SET
