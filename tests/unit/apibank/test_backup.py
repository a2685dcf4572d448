"""What is in a backup, and what is no backup."""

import json
import sqlite3
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from apibank.backup import MANIFEST, BackupError, back_up, checked, restore
from apibank.cli import app

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    for name in ("tls/ca.pem", "secrets/agents/content", "issuer/key", "audit/subjects.key", "audit/platform/1/000.log",
                 "audit/platform/1/lock", "control.token", "logs/x.log", "ready.json", "lock"):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def test_what_must_survive_is_in_it_and_nothing_else(state: Path, tmp_path: Path) -> None:
    assert set(back_up(state, tmp_path / "to", NOW)) == {
        "tls/ca.pem", "secrets/agents/content", "issuer/key", "audit/subjects.key", "audit/platform/1/000.log",
        "control.token",
    }  # fmt: skip
    new = tmp_path / "new"
    assert restore(tmp_path / "to", new) == NOW
    assert (new / "secrets/agents/content").read_text() == "secrets/agents/content"
    for path in (tmp_path / "to").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert stat.S_IMODE((new / "control.token").stat().st_mode) == 0o600
    assert not list(new.rglob(MANIFEST))


def test_a_database_is_copied_with_what_only_its_journal_has(state: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(state / "apibank.db", isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (x)")
    writer.execute("INSERT INTO t VALUES (1)")
    # Somebody writes meanwhile, and that is not in it yet.
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (2)")
    back_up(state, tmp_path / "to", NOW)
    writer.execute("COMMIT")
    writer.close()
    assert [path.name for path in (tmp_path / "to").glob("apibank.db*")] == ["apibank.db"]
    with sqlite3.connect(tmp_path / "to" / "apibank.db") as copy:
        assert copy.execute("SELECT x FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "was not finished"),
        (lambda folder: (folder / "tls/ca.pem").write_text("another"), "is not what was written"),
        (lambda folder: (folder / "control.token").unlink(), "does not hold the files"),
        (lambda folder: (folder / "tls/more").write_text("more"), "tls/more"),
        (lambda folder: (folder / MANIFEST).write_text(json.dumps({"at": "x", "files": {}})), "cannot be read"),
    ],
)
def test_what_is_not_whole_is_not_restored(state: Path, tmp_path: Path, spoil: object, said: str) -> None:
    to = tmp_path / "to"
    back_up(state, to, NOW)
    spoil(to)  # type: ignore[operator]
    with pytest.raises(BackupError, match=said):
        restore(to, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_over(state: Path, tmp_path: Path) -> None:
    back_up(state, tmp_path / "to", NOW)
    with pytest.raises(BackupError, match="there already"):
        back_up(state, tmp_path / "to", NOW)
    with pytest.raises(BackupError, match="is not empty"):
        restore(tmp_path / "to", state)
    with pytest.raises(BackupError, match="nothing in"):
        back_up(tmp_path / "no state", tmp_path / "other", NOW)
    assert checked(tmp_path / "to")[0] == NOW


def test_keys_of_a_database_that_is_elsewhere_are_not_revoked_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APIBANK_DATABASE", "postgresql://apibank@db/apibank")
    state = tmp_path / "state"
    told = CliRunner().invoke(app, ["restore", str(tmp_path / "none"), "--revoke-keys", "--state-dir", str(state)])
    assert told.exit_code == 2
    assert "APIBANK_DATABASE names another" in told.stderr
    assert not state.exists()
