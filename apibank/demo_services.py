"""The processes that stand in for the world around the gateways: token issuers and upstream services."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from apibank.demo import demo_listeners
from apibank.demo_orders import Orders
from apibank.issuer.application import issuer_listeners
from apibank.message_bus import open_bus
from apibank.web import serve_web


async def run_issuer(state_dir: Path, ports: Mapping[str, int], origins: Sequence[str], stop: asyncio.Event) -> None:
    """Serve the development issuers until stopped: port by issuer. `origins`: where browsers reach the gateway."""
    await serve_web(issuer_listeners(state_dir, ports, origins), stop)


async def run_upstreams(ports: Mapping[str, int], bus: str | None, stop: asyncio.Event) -> None:
    """Serve the demo services until stopped: port by service. `bus`: where requests go on to orchestration."""
    if bus is None:
        await serve_web(demo_listeners(ports), stop)
        return
    opened = open_bus(bus)
    try:
        await serve_web(demo_listeners(ports, Orders(opened)), stop)
    finally:
        await opened.close()
