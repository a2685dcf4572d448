"""The folder of policies: one bad file takes nothing from the others, and changes are noticed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from apibank.policies import PolicyFolder, UnknownProfileError, applied_folder, shipped
from policy.problem import PolicyError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "gateways"
    shutil.copytree(shipped("gateways"), target)
    return target


@pytest.mark.requirement("R5")
def test_one_team_s_mistake_holds_up_nobody_else(folder: Path) -> None:
    (folder / "sales.yaml").write_text("gateway: sales\n", encoding="utf-8")
    policies = PolicyFolder(folder, ()).load()
    assert set(policies.errors) == {"sales"}
    assert set(policies.gateways) == {"central", "platform", "marketing", "education", "agents"}


def test_central_comes_first_and_only_the_wanted_ones_are_read(folder: Path) -> None:
    assert PolicyFolder(folder, ()).names()[0] == "central"
    assert PolicyFolder(folder, (), ("marketing", "central")).names() == ("central", "marketing")


def test_a_file_that_has_not_changed_is_not_read_anew(folder: Path) -> None:
    policies = PolicyFolder(folder, ())
    first = policies.load_one("sales")
    assert policies.load_one("sales") is first
    (folder / "sales.yaml").write_text((folder / "sales.yaml").read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert policies.load_one("sales") is not first


def test_bytes_that_are_no_text_are_an_error_at_their_line(folder: Path) -> None:
    (folder / "sales.yaml").write_bytes(b"gateway: sales\n# \xff\n")
    with pytest.raises(PolicyError) as caught:
        PolicyFolder(folder, ()).load_one("sales")
    (only,) = caught.value.problems
    assert (only.position.line, only.message) == (2, "bytes that are not UTF-8")


def test_a_profile_is_a_name_or_a_path(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("profile: own\n", encoding="utf-8")
    assert [path.stem for path in PolicyFolder(folder, ("dev", str(own))).overlays] == ["dev", "own"]
    with pytest.raises(UnknownProfileError, match=r"'nothing'.*dev"):
        PolicyFolder(folder, ("nothing",))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PolicyFolder(tmp_path / "nowhere", ())


async def test_only_policies_and_overlays_count_as_changes(folder: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "own.yaml"
    overlay.write_text("profile: own\n", encoding="utf-8")
    policies, stop, seen = PolicyFolder(folder, (str(overlay),)), asyncio.Event(), 0

    async def watch() -> None:
        nonlocal seen
        async for _ in policies.changes(stop):
            seen += 1

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.3)
    assert seen == 1
    seen = 0
    (tmp_path / "database").write_text("of somebody else", encoding="utf-8")
    (folder / "notes.txt").write_text("of somebody else", encoding="utf-8")
    await asyncio.sleep(0.5)
    assert seen == 0
    for path in (folder / "sales.yaml", overlay):
        before = seen
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        async with asyncio.timeout(5):
            while seen == before:
                await asyncio.sleep(0.02)
    stop.set()
    await watching


def test_without_following_what_is_in_force_begins_as_a_copy_and_stays(folder: Path) -> None:
    applied = applied_folder(folder, ("sales",))
    assert [path.name for path in applied.iterdir()] == ["sales.yaml"]
    first = (applied / "sales.yaml").read_bytes()
    (folder / "sales.yaml").write_text("gateway: sales\n", encoding="utf-8")
    assert applied_folder(folder, ("sales",)) == applied
    assert (applied / "sales.yaml").read_bytes() == first


def test_a_text_is_loaded_as_if_it_were_the_file_and_must_be_this_gateway_s(folder: Path) -> None:
    policies = PolicyFolder(folder, ("dev",))
    text = (folder / "sales.yaml").read_text(encoding="utf-8")
    assert policies.load_text("sales", text, "mine.yaml").gateway == policies.load_one("sales").gateway
    with pytest.raises(PolicyError, match=r"mine\.yaml:\d+"):
        policies.load_text("marketing", text, "mine.yaml")


def test_a_gateway_without_a_candidate_has_none(folder: Path) -> None:
    assert PolicyFolder(folder, ()).load_candidate("sales") is None


async def test_candidates_count_as_changes_for_whoever_wants_them(folder: Path) -> None:
    policies, stop, seen = PolicyFolder(folder, ()), asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        first = True
        async for _ in policies.changes(stop, candidates=True):
            if not first:
                seen.set()
            first = False

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.3)
    (policies.candidates / "sales.yaml").write_text("gateway: sales\n", encoding="utf-8")
    async with asyncio.timeout(5):
        await seen.wait()
    stop.set()
    await watching


async def test_a_link_that_is_turned_to_another_folder_is_followed(folder: Path, tmp_path: Path) -> None:
    link, later = tmp_path / "live", tmp_path / "later"
    link.symlink_to(folder)
    shutil.copytree(folder, later)
    policies, stop, seen = PolicyFolder(link, ()), asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        async for _ in policies.changes(stop):
            seen.set()

    async def noticed() -> None:
        async with asyncio.timeout(10):
            await seen.wait()
        seen.clear()

    watching = asyncio.create_task(watch())
    await noticed()
    (tmp_path / "next").symlink_to(later)
    (tmp_path / "next").rename(link)
    await noticed()
    (later / "sales.yaml").write_text("gateway: sales\n", encoding="utf-8")
    await noticed()
    # A folder that is away for a while, too.
    shutil.rmtree(later)
    await asyncio.sleep(1.5)
    shutil.copytree(folder, later)
    await noticed()
    stop.set()
    await watching
