"""A gateway's policy to everything that its Envoys run."""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from policy.edge import Upstream
from policy.load import Loaded
from policy.model import Gateway
from policy.positions import Positions
from xds import snapshot
from xds.compiler import names
from xds.compiler.clusters import comes_by_eds, service_cluster, upstream_cluster
from xds.compiler.encode import encode
from xds.compiler.endpoints import load_assignment
from xds.compiler.listeners import listener
from xds.compiler.routes import limits_of_route, route_configuration, route_entry
from xds.compiler.secrets import Material, secrets
from xds.compiler.units import ListenerUnit, listener_units, route_keys, upstreams_of
from xds.consistency import InconsistentError, inconsistencies
from xds.snapshot import Origin, Resource, Snapshot

_Typed = tuple[str, Resource]
_Needs = list[tuple[str, str]]


def compile_(policy: Loaded[Gateway] | Gateway, material: Mapping[str, Material]) -> Snapshot:
    """The snapshot of one gateway: equal policies and files give equal bytes, and so equal versions.

    `material` holds every file that `material_files` names. Resources know their file and line where the policy
    comes with its positions. Raises KeyError for a file that is missing, InconsistentError where the result would
    refer to something that it does not hold.
    """
    if isinstance(policy, Loaded):
        gateway, positions = policy.gateway, policy.positions
    else:
        gateway, positions = policy, None
    resources = tuple(_resources(gateway, material, _Provenance(positions)))
    if wrong := inconsistencies(resources):
        raise InconsistentError(wrong)
    return Snapshot.of(resources)


def forget() -> None:
    """Forget every unit that was compiled; the next policy is compiled from nothing. For measurements."""
    for remembered in (route_entry, limits_of_route, _listener_body, _upstream_body, _service_body):
        remembered.cache_clear()


class _Provenance:
    """Where a part of the policy is written, if anybody knows."""

    def __init__(self, positions: Positions | None) -> None:
        self._positions = positions

    def of(self, *path: str | int) -> Origin | None:
        if self._positions is None:
            return None
        place = self._positions.nearest(path)
        return Origin(place.file, place.line)


def _resources(gateway: Gateway, material: Mapping[str, Material], origins: _Provenance) -> Iterator[_Typed]:
    yield from _clusters(gateway, origins)
    for path, secret in secrets(gateway, material):
        yield snapshot.SECRET, Resource.of(secret.name, encode(secret), origins.of(*path))
    for unit in listener_units(gateway):
        origin = origins.of("listeners", unit.name)
        yield snapshot.LISTENER, Resource.of(unit.name, _listener_body(unit), origin, _listener_needs(unit))
        routes = [] if unit.redirects else route_keys(gateway, unit.name)
        body = encode(route_configuration(gateway, unit, routes))
        challenge = unit.listener.acme_challenge
        leads_to = upstreams_of(routes) if challenge is None else {challenge}
        needs = [(snapshot.CLUSTER, upstream) for upstream in sorted(leads_to)]
        written = origin if unit.redirects else origins.of("routes")
        yield snapshot.ROUTE, Resource.of(names.routes_of(unit.name), body, written, needs)


def _clusters(gateway: Gateway, origins: _Provenance) -> Iterator[_Typed]:
    services = {names.AUTHZ: gateway.services.authz.endpoint, names.RATELIMIT: gateway.services.ratelimit.endpoint}
    if gateway.services.telemetry is not None:
        services[names.TELEMETRY] = gateway.services.telemetry.endpoint
        tracing = gateway.services.telemetry.tracing
        if tracing is not None and tracing.endpoint is not None:
            services[names.TRACES] = tracing.endpoint
    for name, endpoint in services.items():
        origin = origins.of(*name.split("/"))
        yield snapshot.CLUSTER, Resource.of(name, _service_body(name, endpoint), origin)
    for name, upstream in gateway.upstreams.items():
        origin = origins.of("upstreams", name)
        by_eds = comes_by_eds(upstream)
        needs = _upstream_needs(upstream) + ([(snapshot.ENDPOINT, name)] if by_eds else [])
        yield snapshot.CLUSTER, Resource.of(name, _upstream_body(name, upstream), origin, needs)
        if by_eds:
            hosts = encode(load_assignment(name, upstream.endpoints))
            yield snapshot.ENDPOINT, Resource.of(name, hosts, origins.of("upstreams", name, "endpoints"))


# What has not changed is not built again.
@lru_cache(maxsize=1_024)
def _listener_body(unit: ListenerUnit) -> bytes:
    return encode(listener(unit))


@lru_cache(maxsize=4_096)
def _upstream_body(name: str, upstream: Upstream) -> bytes:
    return encode(upstream_cluster(name, upstream))


@lru_cache(maxsize=1_024)
def _service_body(name: str, endpoint: str) -> bytes:
    return encode(service_cluster(name, endpoint))


def _listener_needs(unit: ListenerUnit) -> _Needs:
    needs = [(snapshot.ROUTE, names.routes_of(unit.name))]
    if not unit.redirects:
        needs += [(snapshot.CLUSTER, names.AUTHZ), (snapshot.CLUSTER, names.RATELIMIT)]
    if (tls := unit.listener.tls) is not None:
        needs.append((snapshot.SECRET, names.certificate(tls.certificate)))
        if tls.client_authority is not None:
            needs.append((snapshot.SECRET, names.authority(tls.client_authority)))
    return needs


def _upstream_needs(upstream: Upstream) -> _Needs:
    if upstream.tls is None:
        return []
    needs = [(snapshot.SECRET, names.authority(upstream.tls.authority))]
    if upstream.tls.certificate is not None:
        needs.append((snapshot.SECRET, names.certificate(upstream.tls.certificate)))
    return needs
