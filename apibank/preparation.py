"""From a policy to a snapshot that may be published: certificates read, compiled, endpoints of the moment put in."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from policy.load import Loaded
from policy.model import Gateway
from xds.compiler import Material, compile_, material_files
from xds.compiler.encode import encode
from xds.compiler.endpoints import load_assignment
from xds.consistency import InconsistentError
from xds.snapshot import ENDPOINT, Origin, Resource, Snapshot

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

    def __init__(self, compiled: Callable[[str, float], None]) -> None:
        """`compiled` is told how long it took, in seconds, by gateway."""
        self._compiled = compiled
        # One at a time: compiling is all Python, and message classes prepare themselves at their first use, which
        # several threads at once turn from a second into a minute.
        self._compiling = ThreadPoolExecutor(1, "compile")

    async def material(self, gateway: Gateway) -> Mapping[str, Material]:
        """The certificates and keys that the policy names. Raises UnpreparedError."""
        try:
            return await asyncio.to_thread(read_material, gateway)
        except OSError as error:
            raise UnpreparedError([record_of(None, f"{error.filename}: {error.strerror}")]) from error

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


def read_material(gateway: Gateway) -> Mapping[str, Material]:
    """Raises OSError where a file cannot be read."""
    return {file: Material(Path(file).read_bytes()) for file in material_files(gateway)}


def fingerprint(gateway: Gateway, material: Mapping[str, Material], endpoints: Endpoints) -> str:
    """Equal where everything is that a snapshot is made of."""
    digest = hashlib.sha256(gateway.version.encode())
    for file in sorted(material):
        digest.update(hashlib.sha256(material[file].pem).digest())
    digest.update(repr(sorted(endpoints.items())).encode())
    return digest.hexdigest()


def record_of(origin: Origin | None, message: str) -> ErrorRecord:
    """As `Diagnostic.as_record`, for what is wrong with a resource or a file."""
    file, line = ("", 0) if origin is None else (origin.file, origin.line)
    return {"file": file, "line": line, "column": 1, "path": "", "message": message}
