"""`apibank person`: afterwards no file of the state directory has a word of whoever was erased."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from apibank.audit_trail import subject_key
from apibank.cli import app
from authz.audit import Pseudonyms
from records.audit_log import AuditEntry, AuditLog
from records.consents import ConsentRecords, NewConsent
from records.database import Database
from records.upgrade import upgrade

NOW = datetime.now(UTC)
ANN, BOB = "ann.lee", "ann.lee2"


class Place:
    """A state directory as `apibank up` leaves it, with a request of two people in every place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "audit" / "subjects.key"
        self.of = Pseudonyms(subject_key(self.key)).of
        self.log = folder / "logs" / "gateway-platform.log"
        for name in ("logs", "samples", "audit/platform/1"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self.do(self._fill)
        lines = "".join(f'{{"subject":"{self.of(name)}","address":"10.0.0.{len(name)}"}}\n' for name in (ANN, BOB))
        self.log.write_text(lines)
        (folder / "samples" / "platform.jsonl").write_text(lines)
        (folder / "audit/platform/1/refused.jsonl").write_text(lines)

    async def _fill(self, database: Database) -> None:
        await ConsentRecords(database).grant(
            NewConsent(ANN, BOB, "phone_call", ["education"], timedelta(days=9)), now=NOW
        )
        await AuditLog(database).write(
            [
                AuditEntry(NOW, "platform", f"/people/{name}", "GET", "allowed", 200, principal=f"sub:{self.of(name)}")
                for name in (ANN, BOB, ANN)
            ]
        )

    def do(self, work: Callable[[Database], Awaitable[object]]) -> None:
        url = f"sqlite:///{self.folder / 'apibank.db'}"

        async def with_it() -> None:
            await upgrade(url)
            async with Database(url) as database:
                await work(database)

        asyncio.run(with_it())

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--state-dir", str(self.folder)])

    def holders(self, *words: str) -> list[str]:
        """Which files have one of the words, whatever they are."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if any(word.encode() in path.read_bytes() for word in words)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.requirement("R36")
def test_no_file_has_a_word_of_whoever_was_erased_and_the_chain_is_whole(place: Place) -> None:
    ann = place.of(ANN)
    shown = json.loads(place.run("person", "show", ANN).stdout)
    assert {Path(name).name: len(rows) for name, rows in shown.items()} == {
        "consents": 1, "admin_audit_logs": 2, "gateway-platform.log": 1, "platform.jsonl": 1, "refused.jsonl": 1,
    }  # fmt: skip
    assert set(place.holders(ann)) == {"apibank.db", "gateway-platform.log", "platform.jsonl", "refused.jsonl"}
    size = place.log.stat().st_size

    # A process that has its log open goes on writing to it.
    with place.log.open("a") as process:
        answer = place.run("person", "erase", ANN, "--yes", "-o", "json")
        process.write('{"subject":"later"}\n')
    assert answer.exit_code == 0, answer.output
    assert {Path(name).name: count for name, count in json.loads(answer.stdout)["places"].items()} == {
        "consents": 1, "admin_audit_logs": 2, "gateway-platform.log": 1, "platform.jsonl": 1, "refused.jsonl": 1,
    }  # fmt: skip

    assert place.holders(ann, f"{ANN}\x00", f"{ANN}'", f'{ANN}"', f"/{ANN}/") == []
    left = b"".join(path.read_bytes() for path in place.folder.rglob("*") if path.is_file())
    assert left.replace(BOB.encode(), b"").count(ANN.encode()) == 0
    assert place.of(BOB).encode() in left
    lines = place.log.read_text().splitlines()
    assert [json.loads(line).get("subject") for line in lines] == [None, place.of(BOB), "later"]
    assert place.log.stat().st_size == size + len('{"subject":"later"}\n')

    verified = place.run("audit", "verify")
    assert verified.exit_code == 0, verified.output
    assert "platform: whole; rows 1 to 4, a person taken out of 2" in verified.stdout
    # Without what this machine keeps, another anchor's chain has rows that nobody may have changed.
    anchors = place.folder / "worm.jsonl"
    anchors.write_text(place.run("audit", "anchor").stdout)
    assert place.run("audit", "verify", "--no-local-anchors", "--anchor", str(anchors)).exit_code == 1


def test_a_backup_that_is_restored_brings_nobody_back_for_long(place: Place, tmp_path: Path) -> None:
    backup = tmp_path / "before.backup"
    shutil.copy(place.folder / "apibank.db", backup)
    assert place.run("person", "erase", ANN, "--yes").exit_code == 0
    assert ANN not in (place.folder / "audit" / "erased.jsonl").read_text()
    assert place.of(ANN) not in (place.folder / "audit" / "erased.jsonl").read_text()

    shutil.move(backup, place.folder / "apibank.db")
    assert "apibank.db" in place.holders(place.of(ANN))
    again = place.run("person", "erase-again", "--yes")
    assert again.exit_code == 0, again.output
    assert "1 people who were erased before were there again" in again.output
    assert place.holders(place.of(ANN)) == []
    assert json.loads(place.run("person", "show", BOB).stdout)["admin_audit_logs"]
    assert "0 people" in place.run("person", "erase-again", "--yes").output


def test_the_audit_stays_where_a_law_wants_it(place: Place) -> None:
    assert place.run("person", "erase", ANN, "--yes", "--keep-audit").exit_code == 0
    assert list(json.loads(place.run("person", "show", ANN).stdout)) == ["admin_audit_logs"]


def test_who_is_not_sure_or_has_no_key_erases_nobody(place: Place) -> None:
    assert (
        CliRunner().invoke(app, ["person", "erase", ANN, "--state-dir", str(place.folder)], input="n\n").exit_code == 1
    )
    assert "consents" in json.loads(place.run("person", "show", ANN).stdout)
    place.key.unlink()
    answer = place.run("person", "erase", ANN, "--yes")
    assert (answer.exit_code, "the key of the pseudonyms" in answer.output) == (2, True)
    assert not place.key.exists()
