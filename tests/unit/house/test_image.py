"""The image of ours: what it copies is there, what it installs is locked, and nothing else gets in."""

import fnmatch
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[3]
DOCKERFILE = PROJECT / "deploy" / "Dockerfile"


def _instructions() -> list[tuple[str, str]]:
    """(instruction, arguments), continuation lines joined, comments dropped."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def _copied() -> list[str]:
    """What is copied from the project's folder, not from another stage."""
    copies = [arguments.split() for name, arguments in _instructions() if name == "COPY"]
    paths = [[word for word in words if not word.startswith("--chmod")] for words in copies]
    return [source for words in paths if not words[0].startswith("--from") for source in words[:-1]]


def _pins(lock: str) -> dict[str, str]:
    text = (PROJECT / lock).read_text()
    return dict(re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE))


def test_everything_that_is_copied_is_in_the_repository() -> None:
    assert _copied()
    assert [source for source in _copied() if not (PROJECT / source).exists()] == []


def test_everything_that_is_copied_enters_the_build_and_nothing_else_does() -> None:
    ignored = (PROJECT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line.removeprefix("!") for line in ignored if line.startswith("!")} == set(_copied())


def test_every_package_is_in_the_image() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages | {"envoy"} <= set(_copied())


def test_it_runs_as_a_user_without_privileges_and_knows_whether_it_is_well() -> None:
    names = [name for name, _ in _instructions()]
    users = [arguments for name, arguments in _instructions() if name == "USER"]
    assert users == ["10001:10001"]
    assert "HEALTHCHECK" in names
    assert names.index("USER") > max(index for index, name in enumerate(names) if name == "COPY")


def test_every_installation_demands_hashes() -> None:
    installs = [
        command
        for name, arguments in _instructions()
        if name == "RUN"
        for command in arguments.split("&&")
        if re.search(r"\bpip install\b", command)
    ]
    assert len(installs) == 3
    assert [one for one in installs if "--require-hashes" not in one and "--no-deps /build/dist/" not in one] == []


@pytest.mark.parametrize("lock", ["deploy/requirements.lock", "deploy/build.lock"])
def test_the_images_locks_hold_what_the_projects_lock_holds(lock: str) -> None:
    whole = _pins("requirements.lock")
    assert _pins(lock)
    assert {name: version for name, version in _pins(lock).items() if whole.get(name) != version} == {}


def test_the_image_has_every_dependency_and_no_tool_of_development() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    locked = {canonicalize_name(name) for name in _pins("deploy/requirements.lock")}
    named = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["postgres"]]
    wanted = {canonicalize_name(Requirement(text).name) for text in named}
    tools = {canonicalize_name(Requirement(text).name) for text in project["dependency-groups"]["dev"]}
    assert wanted <= locked
    # What a dependency of the product brings along by itself is not a tool.
    assert locked & (tools - wanted) <= {"h2"}


def test_the_build_has_the_projects_build_backend() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    wanted = {canonicalize_name(Requirement(text).name) for text in project["build-system"]["requires"]}
    assert wanted <= {canonicalize_name(name) for name in _pins("deploy/build.lock")}


def test_passwords_reach_the_settings_from_files_and_leave_no_other_trace(tmp_path: Path) -> None:
    stand_in = tmp_path / "apibank"
    stand_in.write_text('#!/bin/sh\necho "$@"\nenv | grep ^APIBANK_\n')
    stand_in.chmod(0o755)
    (tmp_path / "store").write_text("redis://apibank:secret@valkey:6379/0\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "APIBANK_LOG_LEVEL": "info"}
    run = subprocess.run(
        [PROJECT / "deploy" / "entrypoint", "serve", "gateway", "two words"],
        env={**environment, "APIBANK_STORE_FILE": str(tmp_path / "store")},
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert sorted(run.stdout.splitlines()) == [
        "APIBANK_LOG_LEVEL=info",
        "APIBANK_STORE=redis://apibank:secret@valkey:6379/0",
        "serve gateway two words",
    ]


def test_a_password_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    run = subprocess.run(
        [PROJECT / "deploy" / "entrypoint", "serve"],
        env={"PATH": "/usr/bin:/bin", "APIBANK_DATABASE_FILE": str(tmp_path / "missing")},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert run.returncode != 0
    assert "missing" in run.stderr


def test_no_secret_can_enter_the_build() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (PROJECT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    for path in ("deploy/secrets/store-url", ".apibank/control.token", ".git/config", ".venv/pyvenv.cfg"):
        assert [one for one in allowed if fnmatch.fnmatch(path, one) or path.startswith(f"{one}/")] == []
