"""From a policy to a snapshot that may be published: certificates read, compiled, endpoints of the moment put in."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import structlog

from apibank.material import UnusableMaterialError, lifetimes, read_material
from policy.load import Loaded
from policy.model import Gateway
from policy.positions import Positions
from policy.problem import FieldPath, written
from xds.compiler import Material, compile_
from xds.compiler.encode import encode
from xds.compiler.endpoints import load_assignment
from xds.consistency import InconsistentError
from xds.snapshot import ENDPOINT, Origin, Resource, Snapshot

_LOG: Final = structlog.get_logger(__name__)
ErrorRecord = dict[str, object]
Endpoints = Mapping[str, tuple[str, ...]]
"""By upstream, where its hosts are instead of where its file says."""


class UnpreparedError(Exception):
    """A policy that is good by itself and cannot be published; `records` say what is wrong, and where."""

    def __init__(self, records: Sequence[ErrorRecord]) -> None:
        self.records = records
        super().__init__("; ".join(str(record["message"]) for record in records))


class Preparation:
    """Compiles, one policy at a time."""

    def __init__(
        self, compiled: Callable[[str, float], None], ends: Callable[[str, str, float], None] = lambda *_: None
    ) -> None:
        """`compiled` is told how long it took, in seconds, by gateway; `ends` when a gateway's certificate is over,

        in seconds since the epoch.
        """
        self._compiled = compiled
        self._ends = ends
        # One at a time: compiling is all Python, and message classes prepare themselves at their first use, which
        # several threads at once turn from a second into a minute.
        self._compiling = ThreadPoolExecutor(1, "compile")

    async def material(self, gateway: Gateway, positions: Positions | None = None) -> Mapping[str, Material]:
        """The certificates and keys that the policy names. Raises UnpreparedError."""
        try:
            material = await asyncio.to_thread(read_material, gateway)
        except OSError as error:
            raise UnpreparedError([record_of(None, f"{error.filename}: {error.strerror}")]) from error
        except UnusableMaterialError as error:
            raise UnpreparedError([_record_at(error.path, str(error), positions)]) from error
        self._warn_of_ends(gateway, material)
        return material

    def _warn_of_ends(self, gateway: Gateway, material: Mapping[str, Material]) -> None:
        # An Envoy accepts a certificate that is over, and only its clients complain.
        now = datetime.now(UTC)
        for one in lifetimes(gateway, material):
            self._ends(gateway.gateway, one.certificate, one.not_after.timestamp())
            if one.not_after <= now:
                _LOG.error(
                    "certificate_expired", gateway=gateway.gateway, certificate=one.certificate, at=str(one.not_after)
                )

    async def snapshot(
        self, loaded: Loaded[Gateway], material: Mapping[str, Material], endpoints: Endpoints
    ) -> Snapshot:
        """What its Envoys shall run. Raises UnpreparedError."""
        started = time.perf_counter()
        try:
            plain = await asyncio.get_running_loop().run_in_executor(self._compiling, compile_, loaded, material)
        except InconsistentError as error:
            raise UnpreparedError([record_of(one.origin, str(one)) for one in error.problems]) from error
        self._compiled(loaded.gateway.gateway, time.perf_counter() - started)
        return with_endpoints(plain, endpoints)


def with_endpoints(snapshot: Snapshot, endpoints: Endpoints) -> Snapshot:
    """The same with the hosts of these upstreams elsewhere; nothing else is made anew. Unknown ones are ignored."""
    there = snapshot.resources.get(ENDPOINT, {})
    moved = {name: hosts for name, hosts in endpoints.items() if name in there}
    if not moved:
        return snapshot

    def moved_or_not(type_url: str, each: Resource) -> Resource:
        if type_url != ENDPOINT or each.name not in moved:
            return each
        body = encode(load_assignment(each.name, moved[each.name]))
        return Resource.of(each.name, body, each.origin, each.needs, each.aliases, each.ttl)

    return Snapshot.of((type_url, moved_or_not(type_url, each)) for type_url, each in snapshot)


def fingerprint(gateway: Gateway, material: Mapping[str, Material], endpoints: Endpoints) -> str:
    """Equal where everything is that a snapshot is made of."""
    digest = hashlib.sha256(gateway.version.encode())
    for file in sorted(material):
        digest.update(hashlib.sha256(material[file].pem).digest())
    digest.update(repr(sorted(endpoints.items())).encode())
    return digest.hexdigest()


def _record_at(path: FieldPath, message: str, positions: Positions | None) -> ErrorRecord:
    if positions is None:
        return {**record_of(None, message), "path": written(path)}
    place = positions.nearest(path)
    return {"file": place.file, "line": place.line, "column": place.column, "path": written(path), "message": message}


def record_of(origin: Origin | None, message: str) -> ErrorRecord:
    """As `Diagnostic.as_record`, for what is wrong with a resource or a file."""
    file, line = ("", 0) if origin is None else (origin.file, origin.line)
    return {"file": file, "line": line, "column": 1, "path": "", "message": message}
