"""Plain Envoy resources from a folder of YAML files, published as they change, without any policy."""

import asyncio
from pathlib import Path

from xds.publisher import Publisher


async def follow_resources(folder: Path, publisher: Publisher, stop: asyncio.Event) -> None:
    """placeholder"""
