"""The control plane: policy files in, snapshots out, and what became of them on every Envoy."""

import asyncio
import gc
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import structlog

from apibank.policies import PolicyFolder
from apibank.policy_gate import policy_known
from policy.load import Loaded
from policy.model import Gateway
from portal.control_api import GatewayState, ResourceState
from xds.compiler import Material, compile_, material_files
from xds.consistency import InconsistentError
from xds.nodes import State
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES, Origin

_LOG = structlog.get_logger(__name__)
# A NACK can hold the whole resource; people need its beginning.
_LONGEST_MESSAGE = 500


@dataclass(slots=True)
class _Published:
    """What a gateway's Envoys are told to run, and what stands in the way of the files' newest state."""

    version: str | None = None
    fingerprint: str | None = None
    at: datetime | None = None
    errors: Sequence[dict[str, object]] = field(default_factory=tuple)


class ControlPlane:
    """Publishes each gateway on its own: what is wrong with one changes nothing and holds up nobody else."""

    def __init__(self, folder: PolicyFolder, publisher: Publisher) -> None:
        self._folder = folder
        self._publisher = publisher
        self._states: dict[str, _Published] = {}
        # One at a time: compiling is all Python, and message classes prepare themselves at their first use, which
        # several threads at once turn from a second into a minute.
        self._compiling = ThreadPoolExecutor(1, "compile")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish what the folder says now, and again after every change, until stopped."""
        async for _ in self._folder.changes(stop, also=await asyncio.to_thread(self._certificate_folders)):
            first = not self._states
            await self.publish()
            if first:
                # What a start has made lives as long as the process: collecting it again and again would hold up
                # changes.
                gc.collect()
                gc.freeze()

    async def publish(self) -> None:
        """Read the folder and publish whatever has changed."""
        policies = await asyncio.to_thread(self._folder.load)
        for name, error in policies.errors.items():
            records: list[dict[str, object]] = [dict(one.as_record()) for one in error.problems]
            self._refuse(name, records)
        await asyncio.gather(*(self._publish_one(name, loaded) for name, loaded in policies.gateways.items()))

    async def _publish_one(self, name: str, loaded: Loaded[Gateway]) -> None:
        state = self._states.setdefault(name, _Published())
        gateway = loaded.gateway
        try:
            material = await asyncio.to_thread(_read_material, gateway)
            fingerprint = _fingerprint(gateway, material)
            if fingerprint == state.fingerprint:
                state.errors = ()
                return
            snapshot = await asyncio.get_running_loop().run_in_executor(self._compiling, compile_, loaded, material)
        except InconsistentError as error:
            self._refuse(name, [_record(one.origin, str(one)) for one in error.problems])
            return
        except OSError as error:
            self._refuse(name, [_record(None, f"{error.filename}: {error.strerror}")])
            return
        if gateway.version != state.version:
            endpoint = gateway.services.authz.endpoint
            if not await policy_known(endpoint, gateway.version):
                _LOG.warning("policy_unknown_to_authz", gateway=name, version=gateway.version, endpoint=endpoint)
        self._publisher.set_snapshot(name, snapshot)
        self._states[name] = _Published(gateway.version, fingerprint, datetime.now(UTC))
        _LOG.info("published", gateway=name, policy=gateway.version, snapshot=snapshot.version)

    def _refuse(self, name: str, records: Sequence[dict[str, object]]) -> None:
        state = self._states.setdefault(name, _Published())
        if list(state.errors) != list(records):
            _LOG.error("policy_refused", gateway=name, problems=records)
        state.errors = records

    def _certificate_folders(self) -> list[Path]:
        """Where certificates lie, so that a renewed one goes out without a restart."""
        policies = self._folder.load()
        return sorted({Path(file).parent for one in policies.gateways.values() for file in material_files(one.gateway)})

    def gateways(self) -> Sequence[GatewayState]:
        """Each gateway: what is published, on how many Envoys it is live, and what is wrong with the file."""
        return [self._gateway_state(name) for name in sorted(self._states)]

    def _gateway_state(self, name: str) -> GatewayState:
        state = self._states[name]
        snapshot = self._publisher.snapshot(name)
        liveness = None if snapshot is None else self._publisher.live(name, snapshot.version)
        return GatewayState(
            gateway=name,
            version=state.version,
            published_at=state.at,
            envoys=self._publisher.nodes.count(name),
            live=0 if liveness is None else len(liveness.acked),
            errors=state.errors,
        )

    def resources(self) -> Sequence[ResourceState]:
        """Each resource at each connected Envoy."""
        return [
            ResourceState(
                gateway=group,
                node=node.node.id,
                type=SHORT_NAMES.get(kind.type_url, kind.type_url),
                name=one.name,
                status=one.state.value,
                version=one.accepted if one.state is State.SYNCED else one.version,
                message=one.message[:_LONGEST_MESSAGE] or None,
                file=one.origin.file if one.origin else None,
                line=one.origin.line if one.origin else None,
            )
            for group in self._publisher.nodes.groups()
            for node in self._publisher.nodes.status(group)
            for kind in node.types
            for one in kind.resources
        ]


def _read_material(gateway: Gateway) -> Mapping[str, Material]:
    return {file: Material(Path(file).read_bytes()) for file in material_files(gateway)}


def _fingerprint(gateway: Gateway, material: Mapping[str, Material]) -> str:
    digest = hashlib.sha256(gateway.version.encode())
    for file in sorted(material):
        digest.update(hashlib.sha256(material[file].pem).digest())
    return digest.hexdigest()


def _record(origin: Origin | None, message: str) -> dict[str, object]:
    file, line = ("", 0) if origin is None else (origin.file, origin.line)
    return {"file": file, "line": line, "column": 1, "path": "", "message": message}
