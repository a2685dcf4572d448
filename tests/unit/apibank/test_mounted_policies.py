"""Policies and overlays in volumes of Kubernetes: files that kubelet replaces all at once, by turning a link."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apibank.policies import PolicyFolder, shipped
from tests.support.kubernetes import ConfigMapVolume

OVERLAY = "profile: place\ngateways: {sales: {listeners: {mesh: {address: '0.0.0.0:%d'}}}}\n"


async def _next(changes: AsyncIterator[None]) -> None:
    await asyncio.wait_for(anext(changes), 20)


@pytest.mark.parametrize("changed", ["policies", "place"])
async def test_every_change_of_a_volume_is_noticed(tmp_path: Path, changed: str) -> None:
    sales = shipped("gateways", "sales.yaml").read_text("utf-8")
    volumes = {name: ConfigMapVolume(tmp_path / name) for name in ("policies", "place")}
    volumes["policies"].put(sales=sales)
    volumes["place"].put(place=OVERLAY % 9000)
    # As deploy/kubernetes names them.
    folder = PolicyFolder(volumes["policies"].data, [str(volumes["place"].data / "place.yaml")])
    stop = asyncio.Event()
    changes = folder.changes(stop)
    await _next(changes)
    versions = [folder.load_one("sales").gateway.version]
    for number in range(3):
        if changed == "place":
            volumes["place"].put(place=OVERLAY % (9001 + number))
        else:
            volumes["policies"].put(sales=sales.replace("description:", f"description: Change {number}.", 1))
        # A look may come of the link's turning before, and find nothing new.
        await _next(changes)
        while (version := folder.load_one("sales").gateway.version) == versions[-1]:
            await _next(changes)
        versions.append(version)
    assert len(set(versions)) == 4
    stop.set()
    await changes.aclose()
