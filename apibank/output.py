"""How commands speak: a table for people, JSON or YAML for scripts, problems on stderr, and exit codes."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NoReturn

import yaml
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# Exit codes: 0 done, 1 the answer is no (invalid policy, not in sync), 2 the command could not be carried out.
ANSWER_NO = 1
CANNOT = 2

# What is at most so long stays on its line where a terminal is narrow; what is longer gives way.
_SHORT = 20
# A long column is of use down to this width.
_FOLDED = 12


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Cell = str | int | float | bool | None | Sequence[str]
Row = Mapping[str, Cell]


def print_rows(rows: Sequence[Row], columns: Sequence[str], output: OutputFormat, *, empty: str = "nothing") -> None:
    """Print rows. A table shows only `columns`; JSON and YAML hold every field, under the same names."""
    if output is OutputFormat.TABLE:
        _print_table(rows, columns, empty)
    else:
        print_value([dict(row) for row in rows], output)


def print_said(row: Row, said: str, output: OutputFormat) -> None:
    """What came of a command: a sentence for people, the record for programs."""
    if output is OutputFormat.TABLE:
        sys.stdout.write(plain(said) + "\n")
    else:
        print_value(dict(row), output)


def print_value(value: object, output: OutputFormat) -> None:
    """Print one value as JSON or YAML (a table of one value is YAML: the easiest to read)."""
    if output is OutputFormat.JSON:
        written = json.dumps(value, indent=2, ensure_ascii=False, default=str)
        # JSON may hold C1 controls as they are, and a terminal obeys them.
        text = "".join(each if each == "\n" else _escaped(each) for each in written)
    else:
        text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")
        if plain(text) != text:
            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=False).rstrip("\n")
    sys.stdout.write(text + "\n")


def print_pairs(pairs: Sequence[tuple[str, str]], *, indent: int = 0) -> None:
    """Print what belongs to one thing: a name and its text a line, long texts folded beside the names."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in pairs:
        grid.add_row(Text(name), Text(text))
    _write(Padding(grid, (0, 0, 0, indent)))


def fail(message: str, code: int = CANNOT) -> NoReturn:
    """End the command: one message on stderr, and the exit code."""
    sys.stderr.write(plain(message) + "\n")
    raise SystemExit(code)


def plain(text: str) -> str:
    """What others said, as a terminal may show it: without what it would obey, and without line ends at the end."""
    return "".join(each if each in "\n\t" else _escaped(each) for each in text.rstrip("\r\n"))


def plain_record(value: object) -> object:
    """A record with all its texts as `plain` has them."""
    match value:
        case str():
            return plain(value)
        case list():
            return [plain_record(one) for one in value]
        case dict():
            return {name: plain_record(one) for name, one in value.items()}
        case _:
            return value


def _escaped(each: str) -> str:
    """Controls, and marks that turn the direction of text, as JSON and Python write them; all else as it is."""
    if each.isprintable() or unicodedata.category(each) == "Zs":
        return each
    return f"\\u{ord(each):04x}" if ord(each) < 0x1_0000 else json.dumps(each)[1:-1]


def _print_table(rows: Sequence[Row], columns: Sequence[str], empty: str) -> None:
    if not rows:
        sys.stdout.write(empty + "\n")
        return
    heads = [column.replace("_", " ").upper() for column in columns]
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    # Columns stand two apart, and long ones fold.
    if sum((width if width <= _SHORT else _FOLDED) + 2 for width in widths) - 2 > _console().width:
        # Not even what is short would stay whole: each row becomes a block.
        for number, line in enumerate(cells):
            sys.stdout.write("\n" if number else "")
            print_pairs(list(zip(heads, line, strict=True)))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head, width in zip(heads, widths, strict=True):
        table.add_column(head, overflow="fold", no_wrap=width <= _SHORT)
    for line in cells:
        # Text, not markup: a value with brackets is shown as it is.
        table.add_row(*map(Text, line))
    _write(table)


def _console() -> Console:
    # A pipe has no width; a wide table is better than a folded one there.
    return Console(width=None if sys.stdout.isatty() else 240, highlight=False)


def _write(table: Table | Padding) -> None:
    console = _console()
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n")


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return plain(str(value))
    return plain(", ".join(value)) or "-"
