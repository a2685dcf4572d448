"""The import rules of docs/architecture.md: the contracts hold, cover every package, and what imports cannot show."""

import ast
import configparser
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]
CORES = (
    "policy",
    "xds/compiler",
    "xds/snapshot.py",
    "xds/protocol",
    "authz/pipeline.py",
    "authz/examination.py",
    "authz/modes.py",
    "authz/request.py",
    "authz/decision.py",
    "authz/identity",
    "authz/checks",
    "ratelimit/matching.py",
    "ratelimit/algorithms",
)
CLOCKS = {"now", "utcnow", "today", "uuid1", "uuid4", "monotonic", "perf_counter", "time_ns", "monotonic_ns"}
FILES = {"read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "rglob", "is_file", "is_dir", "unlink"}
BUILTINS = {"open", "input", "print", "breakpoint"}


def _packages() -> set[str]:
    """Top-level packages of ours; tests, benchmarks and clients are not part of the product's layers."""
    return {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "bench"}


def _sources(*places: str) -> list[Path]:
    found = []
    for place in places:
        path = PROJECT / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [path for path in found if "_pb2" not in path.name]


def _contract(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(comment_prefixes=(";",))
    parser.read(PROJECT / ".importlinter")
    return parser[name]


def test_every_import_contract_is_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache", "--no-logo"], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_package_has_its_place_among_the_layers() -> None:
    layers = _contract("importlinter:contract:layers")["layers"]
    assert set(layers.replace("|", " ").split()) == _packages()
    assert set(_contract("importlinter")["root_packages"].split()) == _packages()


def test_every_package_is_in_the_wheel() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    shipped = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    # The agents' client lives in clients/ and is a root package of its own beside the layers.
    assert {package for package in shipped if "/" not in package} == _packages()


@pytest.mark.parametrize("core", CORES)
def test_a_core_reads_no_clock_and_touches_no_file(core: str) -> None:
    sources = _sources(core)
    assert sources, f"{core} is gone: take it out of CORES, or put it back"
    assert [found for source in sources for found in _impurities(source)] == []


def test_only_settings_reads_the_environment() -> None:
    readers = {
        source.relative_to(PROJECT).as_posix()
        for source in _sources(*sorted(_packages()))
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.alias) and node.name in {"environ", "getenv"})
    }
    assert readers <= {"apibank/settings.py"}


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        str(source.relative_to(PROJECT)): lines
        for source in _sources(*sorted(_packages()), "tests", "bench")
        if (lines := source.read_text("utf-8").count("\n")) > 400
    }
    assert long == {}


def test_no_module_is_named_after_nothing() -> None:
    empty_words = {"utils", "util", "common", "core", "helpers", "misc", "manager", "handler", "handlers"}
    named = {
        str(path.relative_to(PROJECT))
        for path in _sources(*sorted(_packages()))
        if {path.stem, path.parent.name} & empty_words
    }
    assert named == set()


def _impurities(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        where = f"{source.relative_to(PROJECT)}:{node.lineno}"
        if isinstance(called, ast.Name) and called.id in BUILTINS:
            yield f"{where}: {called.id}()"
        elif isinstance(called, ast.Attribute) and called.attr in CLOCKS | FILES:
            yield f"{where}: .{called.attr}()"
