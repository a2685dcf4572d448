"""Make before break: whose answers are waited for, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from xds.protocol.subscription import Subscription
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, LOCALITY_ENDPOINT, PUSH_ORDER, ROUTE, Resource, Snapshot

# What traffic is sent to, and what sends traffic there.
SUPPLIES: Final = (CLUSTER, ENDPOINT, LOCALITY_ENDPOINT)
USERS: Final = tuple(type_url for type_url in PUSH_ORDER if type_url not in SUPPLIES)

# What a proxy fetches by name once it has got the other, and does not use the other without.
FETCHES: Final[Mapping[str, str]] = {CLUSTER: ENDPOINT, LISTENER: ROUTE}


class Gate:
    """Closed while the proxy has yet to answer, or to fetch and accept what it was just told of."""

    def __init__(self, patience: float) -> None:
        self.deadline: float | None = None
        self._patience = patience
        self._step = ""
        # Responses up to this number are waited for no longer.
        self._forgiven = 0
        self._awaited: dict[str, set[str]] = {ENDPOINT: set(), ROUTE: set()}

    def is_closed(self, type_urls: Iterable[str], subscriptions: Mapping[str, Subscription]) -> bool:
        return any(
            self._awaited.get(type_url) or subscriptions[type_url].last_in_flight > self._forgiven
            for type_url in type_urls
            if type_url in subscriptions
        )

    def expect(
        self, type_url: str, changed: Iterable[Resource], snapshot: Snapshot, subscriptions: Mapping[str, Subscription]
    ) -> None:
        """These are about to be sent; the proxy will fetch what they name.

        An Envoy whose cluster changes waits for its endpoints once more, without asking for them again, so they are
        awaited also when it has them. A route configuration it has is in use at once.
        """
        child = FETCHES.get(type_url)
        if child is None:
            return
        there = snapshot.resources.get(child, {})
        has = subscriptions[child].sent if child != ENDPOINT and child in subscriptions else {}
        for resource in changed:
            names = fetched(child, resource)
            self._awaited[child].update(name for name in names if name in there and name not in has)

    def refused(self, type_url: str, resources: Iterable[Resource]) -> None:
        """The proxy will not fetch what these name."""
        child = FETCHES.get(type_url)
        if child is not None:
            for resource in resources:
                self._awaited[child].difference_update(fetched(child, resource))

    def to_fetch(self, subscription: Subscription, offered: Mapping[str, Resource]) -> set[str]:
        """The awaited names that can be sent now, unasked."""
        if subscription.type_url != ENDPOINT or not self._awaited[ENDPOINT]:
            return set()
        return {name for name in self._awaited[ENDPOINT] if subscription.covers(name) and name in offered}

    def sent(self, type_url: str, resources: Iterable[Resource]) -> None:
        if awaited := self._awaited.get(type_url):
            awaited.difference_update(resource.name for resource in resources)

    def keep(self, snapshot: Snapshot) -> None:
        """What the new snapshot lacks is not awaited."""
        for type_url, awaited in self._awaited.items():
            if not awaited:
                # An emptied set is as slow to walk as it once was long.
                continue
            there = snapshot.resources.get(type_url, {})
            awaited.difference_update([name for name in awaited if name not in there])

    def wait(self, step: str, now: float) -> None:
        """Note which step waits at `now`, "" for none. Its clock starts once, however often the step starts anew."""
        if step != self._step:
            self.deadline = now + self._patience if step else None
        self._step = step

    def expire(self, number: int) -> None:
        """Wait no longer for anything up to the response of this number."""
        self._forgiven = number
        for awaited in self._awaited.values():
            awaited.clear()
        self.wait("", 0.0)


def fetched(child: str, resource: Resource) -> list[str]:
    """The names of the resources of type `child` that a proxy that gets this one waits for."""
    if child == ENDPOINT and not resource.needs:
        # Nobody said what the cluster refers to: its endpoints, if any, have its name.
        return [resource.name]
    return [name for type_url, name in resource.needs if type_url == child]
