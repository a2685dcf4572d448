"""`apibank database`: what people are told of the tables, and a process that cannot serve them."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from apibank.cli import app
from records.upgrade import HEAD, revisions

BEFORE = revisions()[-2]


def run(folder: Path, *arguments: str, input_: str = "") -> Result:
    return CliRunner().invoke(app, ["database", *arguments, "--state-dir", str(folder)], input=input_)


def revision(path: Path) -> str:
    with sqlite3.connect(path) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("apibank.db", "telemetry.db"):
        (tmp_path / name).touch()
    assert run(tmp_path, "status").exit_code == 1
    answer = run(tmp_path, "upgrade")
    assert answer.stdout.splitlines() == [f"{name}: no tables -> {HEAD}" for name in ("apibank.db", "telemetry.db")]
    return tmp_path


def test_both_databases_go_back_and_forward(folder: Path) -> None:
    assert run(folder, "status").exit_code == 0
    assert run(folder, "downgrade", BEFORE, input_="n\n").exit_code == 1
    assert revision(folder / "apibank.db") == HEAD
    assert run(folder, "downgrade", BEFORE, "--yes").exit_code == 0
    assert [revision(folder / name) for name in ("apibank.db", "telemetry.db")] == [BEFORE] * 2
    told = run(folder, "status", "-o", "json")
    assert (told.exit_code, {row["revision"] for row in json.loads(told.stdout)}) == (1, {BEFORE})
    assert run(folder, "upgrade").exit_code == 0
    assert run(folder, "status").exit_code == 0


def test_what_cannot_be_done_is_one_line(folder: Path, tmp_path: Path) -> None:
    answer = run(folder, "downgrade", "040_never", "--yes")
    assert (answer.exit_code, "there is no revision '040_never'" in answer.stderr) == (2, True)
    assert run(tmp_path / "nothing", "status").exit_code == 2


def test_a_process_ends_with_one_line_where_it_cannot_serve_the_tables(folder: Path) -> None:
    with sqlite3.connect(folder / "apibank.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '100_without_something'")
    ended = subprocess.run(
        [sys.executable, "-m", "apibank", "serve", "control-plane", "--state-dir", str(folder),
         "--listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "error: the database is at 100_without_something" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert run(folder, "upgrade").exit_code == 2
