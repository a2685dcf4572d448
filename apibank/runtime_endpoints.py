"""Endpoints of upstreams that are set while running: only the hosts change, and nothing is compiled for it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from policy.model import Gateway
from records.endpoint_overrides import EndpointOverride, EndpointOverrides
from records.errors import LOST_DATABASE

_LOG: Final = structlog.get_logger(__name__)
Later = Callable[[Callable[[], Awaitable[None]]], None]


@dataclass(frozen=True, slots=True)
class UpstreamHosts:
    """Where an upstream's hosts are now, and where its file says."""

    upstream: str
    endpoints: tuple[str, ...]
    written: tuple[str, ...]
    overridden: bool
    author: str | None = None
    at: datetime | None = None


class RuntimeEndpoints:
    """What is set now, as the database knows it. An upstream's own ends when its file says something else than then."""

    def __init__(self, overrides: EndpointOverrides, later: Later) -> None:
        """`later` does a write as soon as the database takes it."""
        self._overrides = overrides
        self._later = later
        self._known: dict[tuple[str, str], EndpointOverride] = {}
        self._changes = 0

    async def load(self) -> frozenset[str] | None:
        """Read what is set: before the start, or by other replicas. The gateways of which something else is set now.

        None while the database is away.
        """
        before = self._changes
        try:
            found = {(one.gateway, one.upstream): one for one in await self._overrides.all()}
        except LOST_DATABASE as error:
            _LOG.warning("endpoints_not_read", error=type(error).__name__)
            return None
        if self._changes != before:
            # What was changed here meanwhile is newer than what was read.
            return frozenset()
        moved = {key[0] for key in found.keys() | self._known.keys() if found.get(key) != self._known.get(key)}
        self._known = found
        return frozenset(moved)

    def of(self, gateway: Gateway) -> Mapping[str, tuple[str, ...]]:
        """By upstream, what stands in the place of what this policy says."""
        return {upstream: one.endpoints for upstream, one in self._standing(gateway).items()}

    def outdated(self, gateway: Gateway) -> None:
        """This policy is live now: forget what was set over endpoints that it does not have."""
        standing = self._standing(gateway)
        for name, upstream in list(self._known):
            if name == gateway.gateway and upstream not in standing:
                del self._known[name, upstream]
                self._changes += 1
                _LOG.info("endpoints_of_file", gateway=name, upstream=upstream)
                self._later(_removal(self._overrides, name, upstream))

    async def put(self, gateway: Gateway, upstream: str, endpoints: tuple[str, ...], author: str) -> None:
        """Set an upstream's endpoints. Raises one of LOST_DATABASE, and has set nothing then."""
        written = gateway.upstreams[upstream].endpoints
        override = EndpointOverride(gateway.gateway, upstream, endpoints, written, author, datetime.now(UTC))
        await self._overrides.save(override)
        self._changes += 1
        self._known[gateway.gateway, upstream] = override

    async def remove(self, gateway: Gateway, upstream: str) -> None:
        """From now on the file decides. Raises one of LOST_DATABASE, and has changed nothing then."""
        await self._overrides.remove(gateway.gateway, upstream)
        self._changes += 1
        self._known.pop((gateway.gateway, upstream), None)

    def hosts(self, gateway: Gateway, upstream: str) -> UpstreamHosts:
        """Where this upstream's hosts are. KeyError for one that there is not."""
        written = gateway.upstreams[upstream].endpoints
        one = self._standing(gateway).get(upstream)
        if one is None:
            return UpstreamHosts(upstream, written, written, overridden=False)
        return UpstreamHosts(upstream, one.endpoints, written, True, one.author, one.at)

    def overridden(self, gateway: Gateway) -> tuple[UpstreamHosts, ...]:
        """Every upstream whose endpoints are not those of its file."""
        return tuple(self.hosts(gateway, upstream) for upstream in sorted(self._standing(gateway)))

    def _standing(self, gateway: Gateway) -> Mapping[str, EndpointOverride]:
        return {
            upstream: one
            for (name, upstream), one in self._known.items()
            if name == gateway.gateway
            and upstream in gateway.upstreams
            and gateway.upstreams[upstream].endpoints == one.written
        }


def _removal(overrides: EndpointOverrides, gateway: str, upstream: str) -> Callable[[], Awaitable[None]]:
    async def remove() -> None:
        await overrides.remove(gateway, upstream)

    return remove
