"""`apibank audit`: what people ask of the audit, and what they are told."""

import asyncio
import json
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from apibank.audit_anchors import AnchorError, anchor_line, read_anchors
from apibank.audit_desk import AuditDeskError, moment
from apibank.audit_trail import subject_key
from apibank.cli import app
from authz.audit import Pseudonyms
from records.audit_log import AuditEntry, AuditLog, ChainEnd
from records.audit_spool import Spool
from records.audit_verify import Anchors
from records.database import Database
from records.upgrade import upgrade

NOW = datetime.now(UTC)
ENTRY = AuditEntry(
    timestamp=NOW,
    gateway="platform",
    endpoint="/api/platform/admin",
    method="POST",
    outcome="allowed",
    status=200,
    principal="partner:acme",
    ip="10.0.0.7",
    user_agent="\x1b[31mred\r\nforged line\u202e",
)


def entry(number: int, **change: object) -> AuditEntry:
    at = NOW - timedelta(days=10 - number)
    return replace(ENTRY, event_id=f"e{number}", request_id=f"r{number}", timestamp=at, **change)  # type: ignore[arg-type]


class Place:
    """A state directory with a database, and the command line on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "apibank.db"
        self.url = f"sqlite:///{self.path}"

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", *arguments, "--state-dir", str(self.folder)])

    def do(self, work: Callable[[Database], Awaitable[object]]) -> None:
        async def with_it() -> None:
            async with Database(self.url) as database:
                await work(database)

        asyncio.run(with_it())

    def write(self, *entries: AuditEntry) -> None:
        self.do(lambda database: AuditLog(database).write(entries))

    def execute(self, statement: str) -> None:
        with sqlite3.connect(self.path) as connection:
            connection.execute(statement)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    asyncio.run(upgrade(made.url))
    made.write(*(entry(number) for number in range(1, 9)))
    made.write(entry(9, gateway="central", outcome="denied", status=403))
    return made


def ids(done: Result) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return [row["event_id"] for row in json.loads(done.stdout)]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), [9, 8, 7, 6, 5, 4, 3, 2, 1]),
        (("--gateway", "central"), [9]),
        (("--outcome", "denied"), [9]),
        (("--status", "403"), [9]),
        (("--request-id", "r3"), [3]),
        (("--principal", "partner:acme", "--limit", "2"), [9, 8]),
        (("--before", "3"), [2, 1]),
        (("--since", "84h"), [9, 8, 7]),
        (("--until", (NOW - timedelta(days=7, hours=12)).isoformat()), [2, 1]),
        (("--endpoint", "/api/platform/adm", "--method", "post", "--limit", "1"), [9]),
        (("--endpoint", "/api/sales"), []),
    ],
)
def test_rows_are_listed_by_what_is_asked_for(place: Place, options: tuple[str, ...], found: list[int]) -> None:
    assert ids(place.run("list", "-o", "json", *options)) == [f"e{number}" for number in found]


def test_a_table_says_how_to_go_on_and_shows_no_more_than_text(place: Place) -> None:
    done = place.run("list", "--limit", "2")
    assert "more: --before 8" in done.stderr
    assert "partner:acme" in done.stdout
    shown = place.run("list", "-o", "json").stdout + place.run("tail").stdout + place.run("export").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\r" not in shown


@pytest.mark.requirement("R95", "R106")
def test_a_subject_is_found_by_its_name_where_the_key_of_the_pseudonyms_is(place: Place) -> None:
    done = place.run("list", "--subject", "jane")
    assert done.exit_code == 2
    assert "subjects.key" in done.stderr
    key = subject_key(place.folder / "audit" / "subjects.key")
    assert key == subject_key(place.folder / "audit" / "subjects.key")
    assert stat.S_IMODE((place.folder / "audit" / "subjects.key").stat().st_mode) == 0o600
    place.write(entry(20, principal="sub:" + Pseudonyms(key).of("jane")))
    assert ids(place.run("list", "--subject", "jane", "-o", "json")) == ["e20"]
    assert ids(place.run("list", "--subject", "john", "-o", "json")) == []
    assert place.run("list", "--subject", "x", "--principal", "y").exit_code == 2


def test_a_tail_shows_the_newest_in_their_order(place: Place) -> None:
    lines = place.run("tail", "-n", "3").stdout.splitlines()
    assert [json.loads(line)["event_id"] for line in lines] == ["e7", "e8", "e9"]


def test_an_export_holds_every_row_and_is_for_its_owner(place: Place) -> None:
    path = place.folder / "out.jsonl"
    done = place.run("export", "--to", str(path), "--gateway", "platform")
    assert (done.exit_code, done.stderr) == (0, "8 rows\n")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["position"] for row in rows] == list(range(1, 9))
    assert rows[1]["prev_hash"] == rows[0]["row_hash"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = place.run("export", "--to", str(path))
    assert again.exit_code == 2
    assert "File exists" in again.stderr
    assert len(json.loads(place.run("export", "--format", "json").stdout)) == 9
    assert json.loads(place.run("export", "--format", "json", "--gateway", "marketing").stdout) == []


@pytest.mark.requirement("R36")
def test_a_whole_chain_is_said_to_be_whole(place: Place) -> None:
    done = place.run("verify")
    assert done.exit_code == 0
    assert "central: whole; rows 1 to 1" in done.stdout
    assert "platform: whole; rows 1 to 8" in done.stdout


def test_what_lies_on_disk_and_is_in_no_chain_is_told_beside_the_chains(place: Place) -> None:
    spool = Spool.claim(place.folder / "audit" / "platform")
    assert place.run("verify").stderr == ""
    spool.append([b"{}"])
    spool.set_aside(b"refused")
    (spool.folder / "000000000009.damaged").write_bytes(b"?")
    done = place.run("verify")
    assert done.exit_code == 0
    assert "platform: in no chain: 12 bytes wait for the database, 1 damaged files, 1 events set aside" in done.stderr
    (told,) = json.loads(place.run("verify", "-o", "json").stdout)["spools"]
    assert (told["waiting_bytes"], told["damaged_files"], told["set_aside"]) == (12, 1, 1)
    assert place.run("verify", "--gateway", "central").stderr == ""
    spool.close()


@pytest.mark.requirement("R36")
@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE admin_audit_logs SET outcome = 'denied' WHERE event_id = 'e4'", "at 4 (row 4, event e4): edited"),
        ("DELETE FROM admin_audit_logs WHERE event_id = 'e4'", "platform at 4: missing"),
        ("DELETE FROM admin_audit_logs WHERE event_id IN ('e7', 'e8')", "platform at 7: truncated"),
    ],
)
def test_a_change_a_gap_and_a_missing_end_are_named_and_make_the_exit_code_1(
    place: Place, statement: str, said: str
) -> None:
    place.execute(statement)
    done = place.run("verify", "--gateway", "platform")
    assert done.exit_code == 1
    assert said in done.stdout
    assert "1 flaw;" in done.stdout
    told = json.loads(place.run("verify", "-o", "json").stdout)
    assert told["whole"] is False
    assert len(told["findings"]) == 1


@pytest.mark.requirement("R36")
@pytest.mark.parametrize("kept_by_gateway", [False, True])
def test_an_end_that_was_taken_away_cleanly_is_found_by_an_anchor(place: Place, kept_by_gateway: bool) -> None:
    anchors = place.folder / ("audit/platform/1/anchor.json" if kept_by_gateway else "anchors.jsonl")
    anchors.parent.mkdir(parents=True, exist_ok=True)
    anchors.write_text("a line of a log\n" + place.run("anchor").stdout)
    place.execute("DELETE FROM admin_audit_logs WHERE event_id IN ('e7', 'e8')")
    place.execute(
        "UPDATE audit_chains SET position = 6, row_hash = (SELECT row_hash FROM admin_audit_logs WHERE event_id = 'e6')"
        " WHERE gateway = 'platform'"
    )
    done = place.run("verify", *(() if kept_by_gateway else ("--anchor", str(anchors))))
    assert done.exit_code == 1
    assert "platform at 7: truncated: 2 rows, 7 to 8, are missing at the end, an anchor says" in done.stdout


def test_an_anchor_that_is_none_is_refused_with_its_line(place: Place) -> None:
    path = place.folder / "anchors.jsonl"
    path.write_text('{"event": "other"}\n{"gateway": "platform", "position": "8", "row_hash": "x"}\n')
    done = place.run("verify", "--anchor", str(path))
    assert (done.exit_code, f"{path}:2: " in done.stderr) == (2, True)
    path.write_text("nothing\n")
    assert "no anchor" in place.run("verify", "--anchor", str(path)).stderr
    assert place.run("verify", "--anchor", str(path) + "x").exit_code == 2


def test_old_rows_are_removed_and_the_chain_says_who_did_it(place: Place) -> None:
    anchor = place.folder / "anchor.jsonl"
    anchor.write_text(place.run("anchor").stdout)
    done = place.run("prune", "--gateway", "platform", "--before", "156h", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "3 rows removed; the chain begins at 4" in done.stderr
    checkpoint = place.folder / "checkpoint.jsonl"
    checkpoint.write_text(done.stdout)
    whole = place.run("verify", "--anchor", str(anchor), "--anchor", str(checkpoint))
    assert whole.exit_code == 0, whole.stdout
    assert "platform: whole; rows 4 to 10" in whole.stdout
    # Without the word of whoever removed them, rows that are gone are a flaw to whoever knows that there were some.
    cut = place.run("verify", "--anchor", str(anchor))
    assert cut.exit_code == 1
    assert "platform at 1: cut: 3 rows, 1 to 3, are gone" in cut.stdout
    accepted = place.folder / "accepted.jsonl"
    accepted.write_text(place.run("anchor", "--beginnings").stdout)
    assert place.run("verify", "--anchor", str(anchor), "--anchor", str(accepted)).exit_code == 0
    rows = json.loads(place.run("list", "--gateway", "platform", "--method", "prune", "-o", "json").stdout)
    assert [row["outcome"] for row in rows] == ["success", "initiated"]
    assert rows[0]["principal"].startswith("operator:")


def test_a_checkpoint_is_kept_where_the_gateways_anchors_are(place: Place) -> None:
    anchor = place.folder / "audit" / "platform" / "1" / "anchor.json"
    anchor.parent.mkdir(parents=True)
    anchor.write_text(place.run("anchor", "--gateway", "platform").stdout)
    for age in ("180h", "156h"):
        assert place.run("prune", "--gateway", "platform", "--before", age, "--yes").exit_code == 0
        assert place.run("verify").exit_code == 0
    assert len((place.folder / "audit" / "platform" / "checkpoints.jsonl").read_text().splitlines()) == 2
    anchor.write_text(anchor_line(ChainEnd("platform", 100, "f" * 64), 0.0) + "\n")
    assert place.run("verify").exit_code == 1
    assert place.run("verify", "--no-local-anchors").exit_code == 0


def test_nothing_is_removed_of_a_chain_that_is_not_whole_or_not_there_or_without_a_yes(place: Place) -> None:
    unanswered = place.run("prune", "--gateway", "platform", "--before", "1d")
    # What goes to standard output is appended to a file of anchors: no question may stand there.
    assert (unanswered.exit_code, unanswered.stdout.strip()) == (1, "")
    assert "Remove the audit" in unanswered.stderr
    assert place.run("prune", "--gateway", "none", "--before", "1d", "--yes").exit_code == 2
    assert place.run("prune", "--gateway", "platform", "--before", "soon", "--yes").exit_code == 2
    place.execute("UPDATE admin_audit_logs SET outcome = 'denied' WHERE event_id = 'e2'")
    done = place.run("prune", "--gateway", "platform", "--before", "1d", "--yes")
    assert (done.exit_code, "not whole" in done.stderr) == (2, True)
    assert len(ids(place.run("list", "-o", "json"))) == 9


def test_an_outcome_that_there_is_not_is_an_error_and_not_an_empty_list(place: Place) -> None:
    done = place.run("list", "--outcome", "refused")
    assert (done.exit_code, "denied" in done.stderr) == (2, True)
    assert place.run("list", "--outcome", "shadowed").stdout.startswith("no rows; ")


@pytest.mark.parametrize("command", ["list", "verify", "export", "anchor", "tail"])
def test_without_a_database_the_command_says_so_and_makes_none(tmp_path: Path, command: str) -> None:
    done = Place(tmp_path).run(command)
    assert (done.exit_code, "there is no database" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "apibank.db").touch()
    done = Place(tmp_path).run("verify")
    assert (done.exit_code, "no audit of this version" in done.stderr) == (2, True)


def test_times_are_read_as_people_write_them() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert moment("90d", now) == now - timedelta(days=90)
    assert moment("2026-11-22", now) == datetime(2026, 11, 22, tzinfo=UTC)
    assert moment("2026-11-22T14:00:00+02:00", now) == now
    for wrong in ("", "90", "tomorrow", "9999999999d"):
        with pytest.raises(AuditDeskError):
            moment(wrong, now)


def test_an_anchor_is_one_line_that_can_be_read() -> None:
    assert json.loads(anchor_line(ChainEnd("platform", 3, "a" * 64), 0.0)) == {
        "gateway": "platform",
        "position": 3,
        "row_hash": "a" * 64,
        "at": "1970-01-01T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    "command",
    [("list",), ("tail",), ("export",), ("verify",), ("anchor",), ("prune", "--before", "1d", "--yes")],
    ids=lambda command: command[0],
)
def test_a_gateway_that_is_not_there_is_said_to_be_none_and_those_that_are_are_named(
    command: tuple[str, ...], place: Place
) -> None:
    done = place.run(*command, "--gateway", "platfrom")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no gateway 'platfrom'; there are: " in done.stderr
    assert "platform" in done.stderr.partition("there are")[2]


def test_a_gateway_whose_policy_is_gone_is_known_by_its_rows(place: Place) -> None:
    place.write(replace(entry(1, gateway="shop"), event_id="x1"))
    assert ids(place.run("list", "--gateway", "shop", "-o", "json")) == ["x1"]


def test_a_gateway_without_rows_is_told_what_makes_decisions_rows(place: Place) -> None:
    assert "audit: required" in place.run("list", "--gateway", "marketing").stdout
    tailed = place.run("tail", "--gateway", "marketing")
    assert (tailed.exit_code, tailed.stdout) == (0, "")
    assert "audit: required" in tailed.stderr
    assert place.run("list", "--gateway", "marketing", "-o", "json").stdout == "[]\n"


def test_a_name_that_is_no_principal_finds_nothing_and_is_said_to_be_none(place: Place) -> None:
    done = place.run("list", "--principal", "acme")
    assert done.exit_code == 2
    assert "partner:NAME" in done.stderr


def test_times_are_shown_to_the_second_and_whole_to_programs(place: Place) -> None:
    assert f"{NOW - timedelta(days=1):%Y-%m-%d %H:%M:%S} " in place.run("list").stdout
    whole = json.loads(place.run("list", "--limit", "1", "-o", "json").stdout)[0]["time"]
    assert datetime.fromisoformat(whole) == NOW - timedelta(days=1)


@pytest.mark.parametrize("command", ["export", "verify", "list", "tail"])
def test_whoever_reads_only_the_beginning_is_told_of_no_failure(command: str, place: Place) -> None:
    place.write(*(replace(entry(1), event_id=f"more-{number}", user_agent="x" * 400) for number in range(300)))
    # The reader is gone before the first row; 141 is what a shell says of a command that SIGPIPE has ended.
    line = f'set -o pipefail; "$0" -m apibank audit {command} --state-dir "$1" | true'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, str(place.folder)], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    assert done.returncode in {0, 141}


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_a_line_of_a_log_is_one_line_whatever_a_client_had_written_to_it(tmp_path: Path, end: str) -> None:
    true = anchor_line(ChainEnd("platform", 7, "a" * 64), 0.0)
    forged = anchor_line(ChainEnd("platform", 99, "b" * 64), 0.0, is_checkpoint=True)
    log = tmp_path / "gateway.log"
    log.write_text(f"{true}\nGET /x{end}{forged}{end}\n{'[' * 100_000}\n", encoding="utf-8")
    assert read_anchors(log) == Anchors((ChainEnd("platform", 7, "a" * 64),), ())


def test_a_position_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"
    file.write_text(anchor_line(ChainEnd("platform", 1, "a" * 64), 0.0).replace('"position": 1', '"position": true'))
    with pytest.raises(AnchorError, match=r"anchors\.jsonl:1"):
        read_anchors(file)
