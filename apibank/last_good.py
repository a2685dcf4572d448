"""The last configuration that every Envoy of a gateway accepted: saved without secrets, and served after a restart."""

import asyncio
import base64
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from apibank.material import UnusableMaterialError, read_material
from apibank.stored_policies import FORMAT, UnusableSnapshotError, document_of, written
from policy.model import Gateway
from records.errors import LOST_DATABASE
from records.snapshots import Snapshots, StoredSnapshot
from xds.compiler.encode import encode
from xds.compiler.secrets import secrets
from xds.consistency import inconsistencies
from xds.snapshot import SECRET, Origin, Resource, Snapshot

_PAUSE_SECONDS: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """What can be served again, the policy that it came from, and those that refused tables of routes came from."""

    gateway: Gateway
    snapshot: Snapshot
    saved_at: datetime
    earlier: tuple[Gateway, ...] = ()


def pack(gateway: Gateway, snapshot: Snapshot, earlier: Sequence[Gateway] = ()) -> bytes:
    """Everything but the secrets, which may hold private keys, and the policies, which say where these are."""
    resources = [
        {
            "type": type_url,
            "name": each.name,
            "body": base64.b64encode(each.body).decode(),
            "origin": [each.origin.file, each.origin.line] if each.origin else None,
            "needs": each.needs,
            "aliases": each.aliases,
            "ttl": each.ttl,
        }
        for type_url, each in snapshot
        if type_url != SECRET
    ]
    policy, *others = (one.model_dump(mode="json", exclude_defaults=True) for one in (gateway, *earlier))
    document = {"format": FORMAT, "policy": policy, "earlier": others, "resources": resources}
    versions = " ".join(one.version for one in (gateway, *earlier))
    return written(versions, document)


def unpack(stored: StoredSnapshot) -> Restored:
    """The snapshot with its secrets, read anew from the certificate files. Raises UnusableSnapshotError."""
    (gateway, *earlier), found = document_of(stored)
    try:
        resources = [(one["type"], _resource(one)) for one in found]
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableSnapshotError(f"it cannot be read: {type(error).__name__}") from error
    try:
        material = read_material(gateway)
    except OSError as error:
        raise UnusableSnapshotError(f"{error.filename}: {error.strerror}") from error
    except UnusableMaterialError as error:
        raise UnusableSnapshotError(str(error)) from error
    made = {secret.name: secret for _, secret in secrets(gateway, material)}
    for one in earlier:
        # What only an earlier policy names may be gone; whether it is needed, the snapshot says.
        with contextlib.suppress(OSError, UnusableMaterialError):
            made = {secret.name: secret for _, secret in secrets(one, read_material(one))} | made
    resources += [(SECRET, Resource.of(name, encode(secret))) for name, secret in made.items()]
    if wrong := inconsistencies(resources):
        raise UnusableSnapshotError(str(wrong[0]))
    return Restored(gateway, Snapshot.of(resources), stored.saved_at, tuple(earlier))


def _resource(one: dict[str, Any]) -> Resource:
    origin = Origin(*one["origin"]) if one["origin"] else None
    needs = [(type_url, name) for type_url, name in one["needs"]]
    body = base64.b64decode(one["body"], validate=True)
    return Resource.of(one["name"], body, origin, needs, one["aliases"], one["ttl"])


class LastGood:
    """Saves each gateway's newest good snapshot, whatever came in between is left out."""

    def __init__(self, snapshots: Snapshots, policies_of: Callable[[str, Snapshot], Sequence[Gateway]]) -> None:
        """`policies_of` says by which policies a gateway's snapshot was made, the newest first."""
        self._snapshots = snapshots
        self._policies_of = policies_of
        self._waiting: dict[str, tuple[Sequence[Gateway], Snapshot]] = {}
        self._there = asyncio.Event()
        # What is being saved is not forgotten in between.
        self._writing = asyncio.Lock()

    def note(self, group: str, snapshot: Snapshot) -> None:
        """Every Envoy of the group has accepted it."""
        if policies := self._policies_of(group, snapshot):
            self._waiting[group] = (policies, snapshot)
            self._there.set()

    async def forget(self, group: str) -> None:
        """Serve nothing of it after a restart. Raises one of LOST_DATABASE."""
        self._waiting.pop(group, None)
        async with self._writing:
            await self._snapshots.forget(group)

    async def run(self, stop: asyncio.Event) -> None:
        """Save until stopped; while the database is away the newest waits."""
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                waking = asyncio.ensure_future(self._there.wait())
                await asyncio.wait({stopping, waking}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                self._there.clear()
                if not await self._save_all():
                    self._there.set()
                    await asyncio.wait({stopping}, timeout=_PAUSE_SECONDS)
        finally:
            stopping.cancel()

    async def _save_all(self) -> bool:
        for group, (policies, snapshot) in list(self._waiting.items()):
            try:
                body = await asyncio.to_thread(pack, policies[0], snapshot, policies[1:])
                async with self._writing:
                    if group not in self._waiting:
                        # Forgotten meanwhile, and to stay so.
                        continue
                    await self._snapshots.save(StoredSnapshot(group, snapshot.version, body, datetime.now(UTC)))
            except LOST_DATABASE as error:
                _LOG.warning("last_good_not_saved", gateway=group, error=type(error).__name__)
                return False
            except Exception:  # noqa: BLE001 what cannot be saved must not end the control plane
                _LOG.exception("last_good_not_saved", gateway=group)
            if self._waiting.get(group, (None, None))[1] is snapshot:
                del self._waiting[group]
        return True

    async def restored(self, group_wanted: Callable[[str], bool]) -> dict[str, Restored]:
        """What can be served again, by gateway. What cannot be is logged, and waits for its policy file."""
        found = {}
        try:
            stored = await self._snapshots.all()
        except LOST_DATABASE as error:
            _LOG.warning("last_good_not_read", error=type(error).__name__)
            return {}
        for one in stored:
            if group_wanted(one.group):
                try:
                    found[one.group] = await asyncio.to_thread(unpack, one)
                except UnusableSnapshotError as error:
                    _LOG.warning("last_good_unusable", gateway=one.group, error=str(error))
        return found
