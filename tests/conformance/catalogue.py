"""Which tests of this directory show which statement of docs/conformance.md, and in which variants.

A test's name begins with the statements that it shows: `test_w6_…`, `test_o7_o8_…`, `test_cds_lds_…`; the scenarios of
the public harness are numbered: `test_07_…`. `python -m tests.conformance.catalogue` writes the last two columns anew.
"""

import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "conformance.md"
_ROW = re.compile(r"^\| ([A-Z]+\d*) \| ([^|]+) \|.*$", re.MULTILINE)
_NAMED = re.compile(r"test_((?:(?:[swdo]\d+|\d{2}|cds|lds|rds|eds|sds|rtds|ecds|srds|vhds|leds|csds|xdstp|types)_)+)")
# These are about one thing each, whatever their tests are called.
_FILES = {"test_client_status": "CSDS"}


@dataclass(frozen=True)
class Shown:
    """One test of a statement; "" where it has no variants, or no types."""

    file: str
    name: str
    variants: tuple[str, ...]
    types: tuple[str, ...]


def statements() -> dict[str, str]:
    """By id, in the order of the document."""
    return dict(_ROW.findall(DOCUMENT.read_text("utf-8")))


def shown() -> dict[str, list[Shown]]:
    """The tests of each statement."""
    found: dict[str, list[Shown]] = {}
    for file in sorted(HERE.glob("test_*.py")):
        module = importlib.import_module(f"tests.conformance.{file.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and test.__module__ == module.__name__:
                for statement in _statements_of(file.stem, name):
                    found.setdefault(statement, []).append(_shown(module, name, test))
    return found


def _statements_of(file: str, name: str) -> list[str]:
    if file in _FILES:
        return [_FILES[file]]
    match = _NAMED.match(name)
    if match is None:
        return []
    return [f"H{int(each)}" if each.isdigit() else each.upper() for each in match[1].split("_") if each]


def _shown(module: ModuleType, name: str, test: object) -> Shown:
    values: dict[str, list[object]] = {}
    for mark in getattr(test, "pytestmark", []):
        if mark.name != "parametrize":
            continue
        names, cases = mark.args
        keys = [each.strip() for each in names.split(",")] if isinstance(names, str) else list(names)
        for case in cases:
            for key, value in zip(keys, [case] if len(keys) == 1 else case, strict=True):
                values.setdefault(key, []).append(value)
    variants = [str(each) for each in values.get("variant", [])]
    for delta in values.get("delta", []):
        streams = ["ADS" if each else "separate" for each in values.get("aggregated", [True])]
        variants += [f"{'delta' if delta else 'sotw'}, {each}" for each in streams]
    types = values.get("short", []) or [
        f"{a}+{b}" for a, b in zip(values.get("one", []), values.get("other", []), strict=True)
    ]
    return Shown(f"{module.__name__.rpartition('.')[2]}.py", name, _once(variants), _once(map(str, types)))


def _once(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def row(statement: str, says: str, tests: list[Shown]) -> str:
    by_file: dict[str, list[str]] = {}
    for each in tests:
        by_file.setdefault(each.file, []).append(f"`{each.name}`")
    named = "<br>".join(f"[{file}](../tests/conformance/{file}): {', '.join(names)}" for file, names in by_file.items())
    variants = _once(variant for each in tests for variant in each.variants)
    types = _once(short for each in tests for short in each.types)
    covers = "; ".join(part for part in (_variants(variants), " ".join(types)) if part)
    return f"| {statement} | {says} | {named} | {covers} |"


def _variants(variants: tuple[str, ...]) -> str:
    by_dialect: dict[str, list[str]] = {}
    for variant in sorted(variants):
        dialect, _, streams = variant.partition(", ")
        by_dialect.setdefault(dialect, []).append(streams)
    return ", ".join(f"{dialect} ({' and '.join(streams)})" for dialect, streams in by_dialect.items())


def rendered() -> str:
    """The document as it should be."""
    tests = shown()
    text = DOCUMENT.read_text("utf-8")
    return _ROW.sub(lambda match: row(match[1], match[2], tests.get(match[1], [])), text)


if __name__ == "__main__":
    DOCUMENT.write_text(rendered(), "utf-8")
