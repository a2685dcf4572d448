"""Policies and overlays in volumes of Kubernetes: files that kubelet replaces all at once, by turning a link."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apibank.policies import PolicyFolder, shipped

OVERLAY = "profile: place\ngateways: {sales: {listeners: {mesh: {address: '0.0.0.0:%d'}}}}\n"


class Volume:
    """A folder as kubelet writes a ConfigMap into it (AtomicWriter): NAME -> ..data/NAME, ..data -> ..N, the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._number = 0

    def put(self, **files: str) -> None:
        old = (self.folder / "..data").resolve() if self._number else None
        self._number += 1
        written = self.folder / f"..{self._number}"
        written.mkdir()
        for name, text in files.items():
            (written / f"{name}.yaml").write_text(text, "utf-8")
        partial = self.folder / "..data_tmp"
        partial.symlink_to(written.name)
        partial.rename(self.folder / "..data")
        for name in files:
            if not os.path.lexists(link := self.folder / f"{name}.yaml"):
                link.symlink_to(Path("..data") / link.name)
        if old is not None:
            shutil.rmtree(old)


async def _next(changes: AsyncIterator[None]) -> None:
    await asyncio.wait_for(anext(changes), 20)


@pytest.mark.parametrize("changed", ["policies", "place"])
async def test_every_change_of_a_volume_is_noticed(tmp_path: Path, changed: str) -> None:
    sales = shipped("gateways", "sales.yaml").read_text("utf-8")
    volumes = {name: Volume(tmp_path / name) for name in ("policies", "place")}
    volumes["policies"].put(sales=sales)
    volumes["place"].put(place=OVERLAY % 9000)
    # As deploy/kubernetes names them.
    folder = PolicyFolder(tmp_path / "policies" / "..data", [str(tmp_path / "place" / "..data" / "place.yaml")])
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
