"""The last configuration that every Envoy of a gateway accepted: saved without secrets, and served after a restart."""

import asyncio
import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

import structlog

from apibank.material import UnusableMaterialError, read_material
from policy.model import Gateway
from records.errors import LOST_DATABASE
from records.snapshots import Snapshots, StoredSnapshot
from xds.compiler.encode import encode
from xds.compiler.secrets import secrets
from xds.consistency import inconsistencies
from xds.snapshot import SECRET, Origin, Resource, Snapshot

_FORMAT: Final = 1
_PAUSE_SECONDS: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


class UnusableSnapshotError(Exception):
    """A saved snapshot that cannot be served; the text says why."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What can be served again, and the policy that it came from."""

    gateway: Gateway
    snapshot: Snapshot
    saved_at: datetime


def pack(gateway: Gateway, snapshot: Snapshot) -> bytes:
    """Everything but the secrets, which may hold private keys, and the policy, which says where these are."""
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
    policy = gateway.model_dump(mode="json", exclude_defaults=True)
    return zlib.compress(json.dumps({"format": _FORMAT, "policy": policy, "resources": resources}).encode(), 6)


def unpack(stored: StoredSnapshot) -> Restored:
    """The snapshot with its secrets, read anew from the certificate files. Raises UnusableSnapshotError."""
    gateway, written = _document(stored)
    try:
        resources = [(one["type"], _resource(one)) for one in written]
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableSnapshotError(f"it cannot be read: {type(error).__name__}") from error
    try:
        material = read_material(gateway)
    except OSError as error:
        raise UnusableSnapshotError(f"{error.filename}: {error.strerror}") from error
    except UnusableMaterialError as error:
        raise UnusableSnapshotError(str(error)) from error
    for _, secret in secrets(gateway, material):
        resources.append((SECRET, Resource.of(secret.name, encode(secret))))
    if wrong := inconsistencies(resources):
        raise UnusableSnapshotError(str(wrong[0]))
    return Restored(gateway, Snapshot.of(resources), stored.saved_at)


def policy_in(stored: StoredSnapshot) -> Gateway:
    """The policy that a saved snapshot came from. Raises UnusableSnapshotError."""
    return _document(stored)[0]


def _document(stored: StoredSnapshot) -> tuple[Gateway, list[dict[str, Any]]]:
    """The policy, and the resources as they are written."""
    try:
        document = cast(dict[str, Any], json.loads(zlib.decompress(stored.body)))  # written by `pack`
        if document["format"] != _FORMAT:
            raise UnusableSnapshotError(f"its format is {document['format']!r}, not {_FORMAT}")
        return Gateway.model_validate(document["policy"]), document["resources"]
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise UnusableSnapshotError(f"it cannot be read: {type(error).__name__}") from error


def _resource(written: dict[str, Any]) -> Resource:
    origin = Origin(*written["origin"]) if written["origin"] else None
    needs = [(type_url, name) for type_url, name in written["needs"]]
    body = base64.b64decode(written["body"], validate=True)
    return Resource.of(written["name"], body, origin, needs, written["aliases"], written["ttl"])


class LastGood:
    """Saves each gateway's newest good snapshot, whatever came in between is left out."""

    def __init__(self, snapshots: Snapshots, policy_of: Callable[[str], Gateway | None]) -> None:
        """`policy_of` says by which policy a gateway's snapshot was made."""
        self._snapshots = snapshots
        self._policy_of = policy_of
        self._waiting: dict[str, tuple[Gateway, Snapshot]] = {}
        self._there = asyncio.Event()

    def note(self, group: str, snapshot: Snapshot) -> None:
        """Every Envoy of the group has accepted it."""
        gateway = self._policy_of(group)
        if gateway is not None:
            self._waiting[group] = (gateway, snapshot)
            self._there.set()

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
        for group, (gateway, snapshot) in list(self._waiting.items()):
            try:
                body = await asyncio.to_thread(pack, gateway, snapshot)
                await self._snapshots.save(StoredSnapshot(group, snapshot.version, body, datetime.now(UTC)))
            except LOST_DATABASE as error:
                _LOG.warning("last_good_not_saved", gateway=group, error=type(error).__name__)
                return False
            except Exception:  # noqa: BLE001 what cannot be saved must not end the control plane
                _LOG.exception("last_good_not_saved", gateway=group)
            if self._waiting.get(group) == (gateway, snapshot):
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
