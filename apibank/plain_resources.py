"""A folder of plain Envoy resources, published as it changes; a group with a mistake keeps what it had."""

import asyncio
from pathlib import Path

import structlog

from apibank.policy_source import read_source
from apibank.watching import bursts
from policy.problem import PolicyError
from xds.publisher import Publisher
from xds.resources_dir import read_group
from xds.snapshot import Snapshot

_LOG = structlog.get_logger(__name__)


async def follow_resources(folder: Path, publisher: Publisher, stop: asyncio.Event) -> None:
    """Publish each group's snapshot, and again whenever its files change, until stopped.

    Raises FileNotFoundError where the folder is not there.
    """
    await _publish(folder, publisher)
    async for _ in bursts(folder, stop=stop, recursive=True):
        await _publish(folder, publisher)


async def _publish(folder: Path, publisher: Publisher) -> None:
    for group in await asyncio.to_thread(_groups, folder):
        try:
            snapshot = await asyncio.to_thread(_snapshot, group)
        except (PolicyError, OSError) as error:
            _LOG.error("resources_refused", group=group.name, error=str(error))
            continue
        current = publisher.snapshot(group.name)
        if current is None or current.version != snapshot.version:
            publisher.set_snapshot(group.name, snapshot)
            _LOG.info("published", group=group.name, snapshot=snapshot.version)


def _groups(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder of resources at {folder}")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _snapshot(group: Path) -> Snapshot:
    return read_group([read_source(path) for path in sorted(group.glob("*.yaml")) if not path.name.startswith(".")])
