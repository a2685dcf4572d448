"""Changes of files: none is missed, whenever it comes."""

import asyncio
from pathlib import Path

import pytest

from apibank.watching import bursts


async def test_it_yields_at_once_and_after_each_burst(tmp_path: Path) -> None:
    stop = asyncio.Event()
    watch = bursts(tmp_path, stop=stop)
    await anext(watch)
    for number in range(3):
        (tmp_path / "file").write_text(str(number), encoding="utf-8")
        async with asyncio.timeout(5):
            await anext(watch)
    stop.set()
    async with asyncio.timeout(5):
        assert [one async for one in watch if one is not None] == []


async def test_what_changes_while_the_last_burst_is_being_read_is_a_burst_of_its_own(tmp_path: Path) -> None:
    stop = asyncio.Event()
    watch = bursts(tmp_path, stop=stop)
    await anext(watch)
    # Here somebody reads the files, slowly; and while they do, one changes.
    (tmp_path / "file").write_text("x", encoding="utf-8")
    await asyncio.sleep(0.3)
    async with asyncio.timeout(5):
        await anext(watch)
    await watch.aclose()  # type: ignore[attr-defined]


async def test_what_does_not_concern_is_not_a_burst(tmp_path: Path) -> None:
    watch = bursts(tmp_path, stop=asyncio.Event(), concerns=lambda path: path.suffix == ".yaml")
    await anext(watch)
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(watch)
    await watch.aclose()  # type: ignore[attr-defined]
