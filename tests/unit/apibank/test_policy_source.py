"""Whatever lies under a policy's name, reading it ends at once, and says what it is."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from apibank.policies import PolicyFolder
from apibank.policy_source import read_source
from policy.problem import PolicyError


def loop(path: Path) -> None:
    path.symlink_to(path)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024**3)


def bound(path: Path) -> None:
    # The name of a socket is short, wherever tests are.
    here = Path.cwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def proc(path: Path) -> None:
    path.symlink_to("/proc/self/mem")


ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a pipe"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a device"),
    "folder": (Path.mkdir, "a folder"),
    "socket": (bound, "a socket"),
    "links in a circle": (loop, "cannot be read"),
    "unreadable": (proc, "cannot be read"),
    "a gigabyte": (sparse, "too long"),
    "not UTF-8": (lambda path: path.write_bytes(b"gateway: x\n\xff\n"), "not UTF-8"),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_policy_file_is_refused_with_its_name(kind: str, tmp_path: Path) -> None:
    make, word = ODD[kind]
    make(tmp_path / "x.yaml")
    with pytest.raises(PolicyError) as refused:
        read_source(tmp_path / "x.yaml")
    (one,) = refused.value.problems
    assert word in one.message
    assert one.position.file.endswith("x.yaml")
    assert one.position.line == (2 if kind == "not UTF-8" else 1)


@pytest.mark.parametrize("kind", [*ODD, "a link to nothing"])
def test_it_takes_nothing_from_the_files_beside_it(kind: str, tmp_path: Path) -> None:
    make = ODD[kind][0] if kind in ODD else lambda path: path.symlink_to("nowhere.yaml")
    make(tmp_path / "x.yaml")
    (tmp_path / "central.yaml").write_text("gateway: another\n", encoding="utf-8")
    found = PolicyFolder(tmp_path, ()).load()
    assert set(found.errors) == {"central", "x"}


def test_a_file_that_is_not_there_is_not_called_broken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source(tmp_path / "x.yaml")
