"""The configuration of one node group: immutable, consistent, already serialised.

A resource's version is the digest of its bytes, a set's version the digest of its resources' versions, so
equal content has equal versions on every replica and after a restart, and nothing here ever counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

_PREFIX = "type.googleapis.com/envoy."

CLUSTER: Final = _PREFIX + "config.cluster.v3.Cluster"
ENDPOINT: Final = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = _PREFIX + "config.listener.v3.Listener"
LOCALITY_ENDPOINT: Final = _PREFIX + "config.endpoint.v3.LbEndpoint"
ROUTE: Final = _PREFIX + "config.route.v3.RouteConfiguration"
SCOPED_ROUTE: Final = _PREFIX + "config.route.v3.ScopedRouteConfiguration"
VIRTUAL_HOST: Final = _PREFIX + "config.route.v3.VirtualHost"
SECRET: Final = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
EXTENSION: Final = _PREFIX + "config.core.v3.TypedExtensionConfig"
RUNTIME: Final = _PREFIX + "service.runtime.v3.Runtime"

SHORT_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        CLUSTER: "CDS",
        ENDPOINT: "EDS",
        LOCALITY_ENDPOINT: "LEDS",
        LISTENER: "LDS",
        ROUTE: "RDS",
        SCOPED_ROUTE: "SRDS",
        VIRTUAL_HOST: "VHDS",
        SECRET: "SDS",
        EXTENSION: "ECDS",
        RUNTIME: "RTDS",
    }
)

# What refers to others comes after what it refers to, so that no proxy ever sees a dangling name.
PUSH_ORDER: Final = tuple(SHORT_NAMES)


def digest(body: bytes) -> str:
    """The version of a resource with these bytes: 32 hex digits."""
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def digest_of(versions: Iterable[tuple[str, str]]) -> str:
    """The version of a set of (name, version) pairs, whatever their order."""
    digester = hashlib.blake2b(digest_size=16)
    for name, version in sorted(versions):
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        digester.update(f"{len(name)}:{name}={version};".encode())
    return digester.hexdigest()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a person wrote what became a resource."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Resource:
    """One Envoy resource. `needs` are the (type URL, name) pairs of the resources that it refers to.

    `aliases` are further names to ask for it by; `ttl` is how many seconds a proxy keeps it unless it hears of it.
    """

    name: str
    version: str
    body: bytes
    origin: Origin | None = None
    needs: tuple[tuple[str, str], ...] = ()
    aliases: tuple[str, ...] = ()
    ttl: float | None = None

    @classmethod
    def of(
        cls,
        name: str,
        body: bytes,
        origin: Origin | None = None,
        needs: Iterable[tuple[str, str]] = (),
        aliases: Iterable[str] = (),
        ttl: float | None = None,
    ) -> Resource:
        """The version is the body's digest. Aliases and a TTL are sent along with the body, so they are part of it."""
        aliases = tuple(sorted(set(aliases)))
        version = digest(body)
        if aliases or ttl is not None:
            version = digest_of([("body", version), ("ttl", repr(ttl)), *(("alias", alias) for alias in aliases)])
        return cls(name, version, body, origin, tuple(needs), aliases, ttl)


@dataclass(frozen=True, slots=True, eq=False)
class ResourceSet:
    """All resources of one type, by name, and the version that stands for them: equal versions are equal sets."""

    version: str
    resources: Mapping[str, Resource]

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> ResourceSet:
        """Raises ValueError when two resources have one name."""
        by_name: dict[str, Resource] = {}
        for resource in sorted(resources, key=lambda resource: resource.name):
            if resource.name in by_name:
                raise ValueError(f"two resources have the name {resource.name!r}")
            by_name[resource.name] = resource
        version = digest_of((resource.name, resource.version) for resource in by_name.values())
        return cls(version, MappingProxyType(by_name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResourceSet) and self.version == other.version

    def __hash__(self) -> int:
        return hash(self.version)


EMPTY_SET: Final = ResourceSet.of(())


# A change is the same for every stream that takes it, so these two are worked out once for all of them. The first
# keeps versions and names alone, the second few and whole: equal sets may have other origins.
_CHANGED: Final[dict[tuple[str, str], frozenset[str]]] = {}
_CHANGES_KEPT: Final = 256
_UNIONS_KEPT: Final = 16


def changed_names(before: ResourceSet, after: ResourceSet) -> frozenset[str]:
    """The names that came, went or have another version."""
    key = before.version, after.version
    if key not in _CHANGED:
        old, new = before.resources, after.resources
        if len(_CHANGED) >= _CHANGES_KEPT:
            del _CHANGED[next(iter(_CHANGED))]
        _CHANGED[key] = frozenset(
            name for name in old.keys() | new.keys() if _version(old, name) != _version(new, name)
        )
    return _CHANGED[key]


def united(some: ResourceSet, others: ResourceSet) -> ResourceSet:
    """Both; of two resources with one name the one of `others`."""
    return _united(_Union(some.resources, tuple(others.resources.values())))


@dataclass(frozen=True, slots=True, eq=False)
class _Union:
    """Known by what it unites, not by what that says."""

    some: Mapping[str, Resource]
    others: tuple[Resource, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Union) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[int, ...]:
        return id(self.some), *map(id, self.others)


@lru_cache(maxsize=_UNIONS_KEPT)
def _united(union: _Union) -> ResourceSet:
    return ResourceSet.of({**union.some, **{each.name: each for each in union.others}}.values())


def _version(resources: Mapping[str, Resource], name: str) -> str | None:
    return resources[name].version if name in resources else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the proxies of one node group shall run. `resources` holds no empty type."""

    version: str
    resources: Mapping[str, Mapping[str, Resource]]
    versions: Mapping[str, str]

    @classmethod
    def of(cls, resources: Iterable[tuple[str, Resource]]) -> Snapshot:
        """Build from (type URL, resource) pairs; raises ValueError when two of a type have one name."""
        by_type: dict[str, list[Resource]] = {}
        for type_url, resource in resources:
            by_type.setdefault(type_url, []).append(resource)
        sets = {type_url: ResourceSet.of(members) for type_url, members in sorted(by_type.items())}
        versions = {type_url: members.version for type_url, members in sets.items()}
        return cls(
            digest_of(versions.items()),
            MappingProxyType({type_url: members.resources for type_url, members in sets.items()}),
            MappingProxyType(versions),
        )

    def of_type(self, type_url: str) -> ResourceSet:
        resources = self.resources.get(type_url)
        return EMPTY_SET if resources is None else ResourceSet(self.versions[type_url], resources)

    def __iter__(self) -> Iterator[tuple[str, Resource]]:
        for type_url, resources in self.resources.items():
            for resource in resources.values():
                yield type_url, resource
