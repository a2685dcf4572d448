"""Which test shows which requirement: reads the markers, writes docs/requirements.md.

Run as `python -m tests.support.requirements` (`make requirements`). The texts live in docs/requirements.yaml;
the tests are found by reading the sources of tests/ for `@pytest.mark.requirement("R41", ...)`, without importing
them, so that a test which is skipped on this machine still counts as written.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

PROJECT = Path(__file__).resolve().parents[2]
TEXTS = PROJECT / "docs" / "requirements.yaml"
TABLE = PROJECT / "docs" / "requirements.md"

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

HEAD = """\
# Requirements and the tests that show them

Made by `make requirements` from [requirements.yaml](requirements.yaml) and from the tests' markers
(`@pytest.mark.requirement("R41")`); do not edit. A test stands in a row only if it exercises that requirement.
A row without a test is not shown yet.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One group of requirements: `rows` maps an id such as `R41` to its text."""

    title: str
    rows: Mapping[str, str]


@dataclass(frozen=True, slots=True, order=True)
class Claim:
    """A marker: `test` (in `file`, relative to the project) says that it shows `requirement`."""

    requirement: str
    file: str
    test: str
    line: int


class MarkerError(ValueError):
    """A marker that cannot be read: an argument that is no literal, or a place where nothing runs it."""


def load_sections(texts: Path = TEXTS) -> list[Section]:
    return [Section(part["title"], dict(part["rows"])) for part in yaml.safe_load(texts.read_text("utf-8"))]


def collect_claims(tests: Path = PROJECT / "tests", marker: str = "requirement") -> list[Claim]:
    """Every marker below `tests`, sorted. Raises MarkerError with file and line for one that cannot be read."""
    root = tests.parent
    claims: list[Claim] = []
    for path in sorted(tests.rglob("*.py")):
        source = path.read_text("utf-8")
        if f"mark.{marker}" in source:
            file = path.relative_to(root).as_posix()
            claims.extend(_claims_of_module(ast.parse(source, str(path)), file, marker))
    return sorted(claims)


def render(sections: list[Section], claims: list[Claim]) -> str:
    """The whole text of docs/requirements.md."""
    shown = shown_by(claims)
    total = sum(len(section.rows) for section in sections)
    covered = sum(1 for section in sections for key in section.rows if key in shown)
    lines = [HEAD, f"{covered} of {total} rows are shown by a test.", ""]
    for section in sections:
        lines += [f"## {section.title}", "", "| # | Requirement | Shown by |", "|---|---|---|"]
        lines += [f"| {key} | {cell_of(text)} | {tests_of(shown.get(key, []))} |" for key, text in section.rows.items()]
        lines.append("")
    return "\n".join(lines)


def shown_by(claims: list[Claim]) -> dict[str, list[Claim]]:
    """requirement id -> its claims"""
    shown: dict[str, list[Claim]] = {}
    for claim in claims:
        shown.setdefault(claim.requirement, []).append(claim)
    return shown


def _claims_of_module(module: ast.Module, file: str, marker: str) -> Iterator[Claim]:
    everywhere = _calls(marker, *(node for node in module.body if _is_pytestmark(node)))
    attributed = set(everywhere)
    for definition, test, inherited in _tests_of(module.body, marker, "", []):
        own = _calls(marker, *definition.decorator_list)
        attributed.update(own, inherited)
        for call in (*everywhere, *inherited, *own):
            yield from _claims_of_call(call, file, test)
    for call in _calls(marker, module):
        if call not in attributed:
            raise MarkerError(f"{file}:{call.lineno}: this marker belongs to no test")


def _tests_of(
    body: list[ast.stmt], marker: str, prefix: str, inherited: list[ast.Call]
) -> Iterator[tuple[Definition, str, list[ast.Call]]]:
    """(definition, name, markers inherited from classes) of every test function, in classes too"""
    for node in body:
        if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            from_class = _calls(marker, *node.decorator_list, *(item for item in node.body if _is_pytestmark(item)))
            yield from _tests_of(node.body, marker, f"{prefix}{node.name}::", [*inherited, *from_class])
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node, prefix + node.name, inherited


def _calls(marker: str, *nodes: ast.AST) -> list[ast.Call]:
    calls = (call for node in nodes for call in ast.walk(node) if isinstance(call, ast.Call))
    return [call for call in calls if _is_marker(call.func, marker)]


def _is_marker(function: ast.expr, marker: str) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == marker
        and isinstance(function.value, ast.Attribute)
        and function.value.attr == "mark"
    )


def _is_pytestmark(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(
        isinstance(name, ast.Name) and name.id == "pytestmark" for name in node.targets
    )


def _claims_of_call(call: ast.Call, file: str, test: str) -> Iterator[Claim]:
    for argument in call.args:
        if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
            raise MarkerError(f'{file}:{call.lineno}: write the ids as literals, as in ("R41")')
        yield Claim(argument.value, file, test, call.lineno)


def cell_of(text: str) -> str:
    return text.strip().replace("|", "\\|")


def tests_of(claims: list[Claim]) -> str:
    files: dict[str, list[str]] = {}
    for claim in claims:
        names = files.setdefault(claim.file, [])
        if claim.test not in names:
            names.append(claim.test)
    return "<br>".join(
        f"[{file}](../{file}): " + ", ".join(f"`{name}`" for name in sorted(names)) for file, names in files.items()
    )


def main() -> int:
    """Write the table, print the rows that no test shows yet; 1 if a marker names an unknown id."""
    sections, claims = load_sections(), collect_claims()
    known = {key: text for section in sections for key, text in section.rows.items()}
    unknown = [claim for claim in claims if claim.requirement not in known]
    TABLE.write_text(render(sections, claims), "utf-8")
    missing = known.keys() - shown_by(claims).keys()
    for key, text in known.items():
        if key in missing:
            sys.stdout.write(f"{key:>5}  {text}\n")
    sys.stdout.write(f"{len(known) - len(missing)} of {len(known)} rows are shown by a test\n")
    for claim in unknown:
        sys.stderr.write(f"{claim.file}:{claim.line}: {claim.requirement} is not a requirement\n")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
