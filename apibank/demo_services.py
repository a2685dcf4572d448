"""The processes that stand in for the world around the gateways: token issuers and upstream services."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from apibank.demo import PLATFORM, demo_listeners
from apibank.issuer.application import issuer_listeners
from apibank.ports import LOOPBACK
from apibank.probes import answers_http, answers_ping, required
from apibank.web import serve_web
from portal.platform_api import PlatformProbes, Probe
from records.database import Database
from records.fact_versions import API_KEYS, FactVersions


async def run_issuer(state_dir: Path, ports: Mapping[str, int], origins: Sequence[str], stop: asyncio.Event) -> None:
    """Serve the development issuers until stopped: port by issuer. `origins`: where browsers reach the gateway."""
    await serve_web(issuer_listeners(state_dir, ports, origins), stop)


async def run_upstreams(ports: Mapping[str, int], store: str, database: str, stop: asyncio.Event) -> None:
    """Serve the demo services until stopped; the platform's health asks the real database, store and agents."""
    async with Database(database) as records:
        versions = FactVersions(records)

        async def ask_database() -> None:
            await versions.current(API_KEYS)

        agents = {name: port for name, port in ports.items() if name != PLATFORM}
        probes = PlatformProbes(database=ask_database, redis=_store_probe(store), agents=_agents_probe(agents))
        await serve_web(demo_listeners(ports, probes), stop)


def _store_probe(store: str) -> Probe:
    if store in {"memory", "valkey"}:
        # Counters in the gateways' own memory: there is nothing beside them that could be down.
        async def nothing_to_ask() -> None:
            return

        return nothing_to_ask
    return required(lambda: answers_ping(store))


def _agents_probe(ports: Mapping[str, int]) -> Probe:
    async def all_answer() -> bool:
        return all(await asyncio.gather(*(answers_http(f"{LOOPBACK}:{port}") for port in ports.values())))

    return required(all_answer)
