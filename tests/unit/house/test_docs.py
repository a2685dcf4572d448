"""The documents keep up with the project: targets and links lead somewhere, and no decision is lost."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from apibank.ports import plan_ports
from apibank.settings import Settings

PROJECT = Path(__file__).resolve().parents[3]
FOLDERS = ("docs", "deploy", "clients", "bench")
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(page for folder in FOLDERS for page in (PROJECT / folder).rglob("*.md"))])
ADRS = sorted((PROJECT / "docs" / "adr").glob("*.md"))
COMPOSE = PROJECT / "compose.yaml"
ANCHOR_NOISE = re.compile(r"[^\w\- ]")


def _relative(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def _anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {ANCHOR_NOISE.sub("", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_every_link_leads_somewhere(document: Path) -> None:
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_every_make_target_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|\$ )make ([a-z][a-z-]*)", document.read_text("utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_every_file_that_is_named_is_there(document: Path) -> None:
    named = set(
        re.findall(r"`([a-z_.]+/[\w./-]*?\w+\.(?:py|yaml|yml|toml|lua|proto|json))`", document.read_text("utf-8"))
    )
    # Places that only exist while the stack runs or once something was built, and names that stand for others.
    spoken = {name for name in named if name.startswith((".apibank/", "dist/", "profiles/")) or "NAME" in name}
    assert [name for name in sorted(named - spoken) if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_relative)
def test_no_document_names_a_place_of_somebodys_machine(document: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:root|home|tmp|work|Users)/\S*", document.read_text("utf-8")) == []


def test_every_make_target_has_a_line_of_help_or_is_a_part_of_one_that_has() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    helped = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    parts = {part for line in re.findall(r"^[a-z-]+:([^#\n]*)##", makefile, re.MULTILINE) for part in line.split()}
    assert targets - helped - parts == set()


def test_every_adr_is_linked_from_the_architecture() -> None:
    architecture = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
    assert [adr.name for adr in ADRS if f"](adr/{adr.name})" not in architecture] == []


def test_adrs_are_numbered_without_a_gap() -> None:
    assert [int(adr.name[:4]) for adr in ADRS] == list(range(1, len(ADRS) + 1))


@pytest.mark.parametrize("adr", ADRS, ids=lambda adr: adr.stem)
def test_an_adr_has_its_number_a_status_and_its_three_parts(adr: Path) -> None:
    text = adr.read_text("utf-8")
    assert text.startswith(f"# {int(adr.name[:4])}. ")
    assert re.search(r"^Status: (accepted|superseded by \[\d+\]\(.+\))$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_the_architecture_names_every_package() -> None:
    architecture = (PROJECT / "docs" / "architecture.md").read_text("utf-8")
    packages = {path.parent.name for path in PROJECT.glob("*/__init__.py")} - {"tests", "bench"}
    assert [name for name in sorted(packages) if f"| `{name}/` |" not in architecture] == []


def test_pictures_are_well_formed_and_say_what_they_show() -> None:
    for picture in (PROJECT / "docs" / "images").glob("*.svg"):
        root = ElementTree.parse(picture).getroot()
        assert [child.tag.rpartition("}")[2] for child in root][:2] == ["title", "desc"]


def test_the_changelog_knows_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in (PROJECT / "CHANGELOG.md").read_text("utf-8")


def test_every_port_of_the_embedded_stack_is_documented() -> None:
    page = (PROJECT / "docs" / "operate" / "README.md").read_text("utf-8")
    documented: set[int] = set()
    for ports in re.findall(r"^\| (1\d{4}[\d, -]*) \|", page, re.MULTILINE):
        for part in ports.split(", "):
            first, _, last = part.partition("-")
            documented.update(range(int(first), int(last or first) + 1))
    plan = plan_ports(10_000)
    assert documented == {*plan.named().values(), plan.base}


def test_every_setting_is_documented() -> None:
    page = (PROJECT / "docs" / "operate" / "README.md").read_text("utf-8")
    assert [name for name in Settings.model_fields if f"| `APIBANK_{name.upper()}` |" not in page] == []


def test_a_variable_that_is_documented_is_a_setting() -> None:
    settings = {f"APIBANK_{name.upper()}" for name in Settings.model_fields}
    # Read by deploy/entrypoint and by compose.yaml.
    elsewhere = {"APIBANK_STORE_FILE", "APIBANK_DATABASE_FILE", *re.findall(r"\$\{(APIBANK_\w+)", COMPOSE.read_text())}
    named = {name for page in DOCUMENTS for name in re.findall(r"APIBANK_[A-Z_]+", page.read_text("utf-8"))}
    assert named - settings - elsewhere == set()
