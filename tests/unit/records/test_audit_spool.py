"""The spool: what it took is there after any end of the process, and what it could not take is said."""

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from records.audit_segment import decode_lines, encode_line
from records.audit_spool import Spool, SpoolFullError

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool.claim(tmp_path / "platform")
    yield spool
    spool.close()


def numbers(first: int, last: int) -> list[bytes]:
    return [f'{{"n":{number}}}'.encode() for number in range(first, last + 1)]


def drain(spool: Spool, limit: int = 500) -> list[bytes]:
    found: list[bytes] = []
    while (batch := spool.read(limit)) is not None:
        found += batch.records
        spool.stored(batch)
    return found


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "lock")


def test_records_come_out_once_and_in_their_order(spool: Spool) -> None:
    spool.append(numbers(1, 3))
    spool.append(numbers(4, 10))
    assert drain(spool, limit=4) == numbers(1, 10)
    spool.append(numbers(11, 12))
    assert drain(spool) == numbers(11, 12)
    assert spool.read(1) is None


def test_what_was_read_and_not_said_to_be_stored_is_read_again(spool: Spool) -> None:
    spool.append(numbers(1, 3))
    assert spool.read(2) == spool.read(2)
    assert drain(spool) == numbers(1, 3)


def test_what_waits_is_there_for_the_next_process(tmp_path: Path) -> None:
    first = Spool.claim(tmp_path / "platform")
    first.append(numbers(1, 3))
    first.close()
    second = Spool.claim(tmp_path / "platform")
    second.append(numbers(4, 4))
    assert drain(second) == numbers(1, 4)
    second.close()
    assert files(tmp_path / "platform" / "1") == []


def test_only_its_owner_reads_it(spool: Spool) -> None:
    spool.append(numbers(1, 1))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700


def test_files_are_cut_at_a_size_and_removed_when_all_of_them_is_stored(tmp_path: Path) -> None:
    spool = Spool.claim(tmp_path / "platform", max_bytes=4096)
    for number in range(25):
        spool.append([b"x" * 100 + str(number).encode()])
    assert len(files(spool.folder)) == 3
    batch = spool.read(100)
    assert batch is not None
    spool.stored(batch)
    assert len(files(spool.folder)) == 2
    assert len(drain(spool)) == 25 - len(batch.records)
    spool.close()
    assert files(spool.folder) == []


def test_a_full_spool_takes_nothing_until_something_is_stored(tmp_path: Path) -> None:
    spool = Spool.claim(tmp_path / "platform", max_bytes=4096)
    room = 4096 // 510
    for _ in range(room):
        spool.append([b"x" * 500])
    with pytest.raises(SpoolFullError):
        spool.append([b"x" * 500])
    assert spool.bytes_on_disk <= 4096
    assert len(drain(spool)) == room
    spool.append([b"y"])
    assert drain(spool) == [b"y"]
    spool.close()


def test_the_age_of_the_oldest_is_that_of_what_still_waits(tmp_path: Path) -> None:
    times = iter([100.0, 200.0])
    spool = Spool.claim(tmp_path / "platform", clock=lambda: next(times))
    ages = [spool.oldest_since]
    spool.append(numbers(1, 1))
    spool.append(numbers(2, 2))
    ages.append(spool.oldest_since)
    batch = spool.read(1)
    assert batch is not None
    spool.stored(batch)
    ages.append(spool.oldest_since)
    drain(spool)
    assert [*ages, spool.oldest_since] == [None, 100.0, 200.0, None]
    spool.close()


def test_processes_at_once_have_folders_of_their_own_and_the_next_one_takes_over_what_is_left(tmp_path: Path) -> None:
    root = tmp_path / "platform"
    first, second = Spool.claim(root), Spool.claim(root)
    assert (first.folder.name, second.folder.name) == ("1", "2")
    first.append(numbers(1, 2))
    second.append(numbers(3, 4))
    second.close()
    assert drain(first) == numbers(1, 2)
    first.append(numbers(5, 5))
    first.close()
    third = Spool.claim(root)
    # Of a file that holds something that waits, all is given again.
    assert drain(third) == [*numbers(1, 2), *numbers(5, 5), *numbers(3, 4)]
    third.close()
    assert files(root / "2") == []


WRITER = """
import os, signal, sys
from pathlib import Path
from records.audit_spool import Spool
spool = Spool.claim(Path(sys.argv[1]))
for number in range(1, 6):
    spool.append([b'{"n":%d}' % number])
    os.write(1, b"%d\\n" % number)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_loses_nothing_that_append_returned_for(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITER, str(tmp_path / "p")], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == [b"1", b"2", b"3", b"4", b"5"]
    spool = Spool.claim(tmp_path / "p")
    assert drain(spool) == numbers(1, 5)
    spool.close()


def left_behind(tmp_path: Path, change: bytes | None, cut: int = 0) -> tuple[Path, Spool]:
    """A spool of three records that ended, whose file was then made shorter or given other octets at its end."""
    first = Spool.claim(tmp_path / "platform")
    first.append(numbers(1, 3))
    first.close()
    (path,) = first.folder.glob("*.spool")
    octets = path.read_bytes()
    path.write_bytes(octets[: len(octets) - cut] + (change or b""))
    return first.folder, Spool.claim(tmp_path / "platform")


@pytest.mark.parametrize("cut", range(1, 18))
def test_a_last_record_that_was_not_written_whole_is_passed_over_and_counted(tmp_path: Path, cut: int) -> None:
    folder, spool = left_behind(tmp_path, None, cut)
    spool.append(numbers(9, 9))
    batches = []
    while (batch := spool.read(100)) is not None:
        batches.append(batch)
        spool.stored(batch)
    assert [one for batch in batches for one in batch.records] == numbers(1, 2) + numbers(9, 9)
    assert [(batch.torn, batch.damaged) for batch in batches] == [(1 if cut < 17 else 0, 0), (0, 0)]
    # What could not be read is there for people to look at.
    assert len(list(folder.glob("*.damaged"))) == (1 if cut < 17 else 0)
    spool.close()


def test_octets_that_a_disk_has_filled_up_with_zeroes_are_torn(tmp_path: Path) -> None:
    _, spool = left_behind(tmp_path, b"\0" * 4096)
    batch = spool.read(100)
    assert batch is not None
    assert (batch.records, batch.torn, batch.damaged) == (tuple(numbers(1, 3)), 1, 0)
    spool.close()


@pytest.mark.parametrize("at", range(33))
def test_one_wrong_octet_costs_one_record_or_two_and_is_counted(tmp_path: Path, at: int) -> None:
    first = Spool.claim(tmp_path / "platform")
    first.append(numbers(1, 3))
    first.close()
    (path,) = first.folder.glob("*.spool")
    octets = bytearray(path.read_bytes())
    octets[at] ^= 0x55
    path.write_bytes(bytes(octets))
    spool = Spool.claim(tmp_path / "platform")
    batch = spool.read(100)
    assert batch is not None
    # A wrong octet can be a line end that is none, or one too many.
    assert 1 <= batch.damaged <= 2
    assert len(batch.records) in {1, 2}
    assert set(batch.records) <= set(numbers(1, 3))
    spool.stored(batch)
    assert spool.read(1) is None
    assert len(list(spool.folder.glob("*.damaged"))) == 1
    spool.close()


def test_a_file_without_a_line_end_does_not_keep_what_comes_after_it(tmp_path: Path) -> None:
    _, spool = left_behind(tmp_path, b"x" * 2_000_000)
    spool.append(numbers(4, 4))
    assert drain(spool) == numbers(1, 4)
    spool.close()


def test_a_file_that_somebody_removed_is_counted_and_keeps_nothing_back(spool: Spool) -> None:
    spool.append(numbers(1, 1))
    for path in spool.folder.glob("*.spool"):
        path.unlink()
    spool.append(numbers(2, 2))
    batch = spool.read(10)
    assert batch is not None
    assert (batch.records, batch.damaged) == ((), 1)
    spool.stored(batch)
    assert drain(spool) == numbers(2, 2)


def test_a_disk_that_fills_up_while_it_is_written_to_costs_nothing_that_was_taken(tmp_path: Path) -> None:
    spool = Spool.claim(tmp_path / "platform")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    taken = 0
    try:
        # The write that crosses the limit writes a part of what it was given, as on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        for _ in range(20):
            with suppress(OSError):
                spool.append([b"x" * 90, b"y" * 90])
                taken += 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert taken == 5
    spool.append([b"z"])
    assert drain(spool) == [b"x" * 90, b"y" * 90] * taken + [b"z"]
    assert files(spool.folder) == ["000000000001.spool"]
    spool.close()


def test_after_a_failed_fsync_nothing_is_written_to_that_file_again(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.append(numbers(1, 1))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "no disk")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        for _ in range(3):
            with pytest.raises(OSError, match="no disk"):
                spool.append(numbers(7, 7))
    spool.append(numbers(2, 2))
    assert drain(spool) == numbers(1, 2)
    assert len(files(spool.folder)) == 1


def test_a_line_end_within_a_record_cannot_make_two_of_it() -> None:
    forged = b'{"a":1}\n00000000 {"forged":1}'
    lines = decode_lines(encode_line(forged), 10, is_all=True)
    assert lines.records == ()
    assert lines.torn + lines.damaged == 2


@pytest.mark.parametrize("name", ["notes.spool", "-1.spool", "\u0661.spool", "1.spool.swp", ".spool"])
def test_files_of_others_are_none_of_the_spools_and_stop_nobody(tmp_path: Path, name: str) -> None:
    for slot in ("1", "2"):
        (tmp_path / "platform" / slot).mkdir(parents=True)
        (tmp_path / "platform" / slot / name).write_bytes(b"?")
    spool = Spool.claim(tmp_path / "platform")
    spool.append(numbers(1, 2))
    assert drain(spool) == numbers(1, 2)
    assert (spool.folder / name).read_bytes() == b"?"
    spool.close()


@pytest.mark.parametrize("name", ["lock", "refused.jsonl"])
def test_nothing_is_written_through_a_link_that_somebody_left_there(tmp_path: Path, name: str) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "platform" / "1").mkdir(parents=True)
    (tmp_path / "platform" / "1" / name).symlink_to(target)
    with suppress(OSError):
        spool = Spool.claim(tmp_path / "platform")
        with suppress(OSError):
            spool.set_aside(b"record")
        spool.close()
    assert not target.exists()


def test_a_file_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(encode_line(b"{}"))
    folder = tmp_path / "platform" / "1"
    folder.mkdir(parents=True)
    (folder / f"{1:012d}.spool").symlink_to(secret)
    (folder / f"{2:012d}.spool").symlink_to(tmp_path / "nowhere")
    spool = Spool.claim(tmp_path / "platform")
    assert drain(spool) == []
    spool.append(numbers(1, 1))
    assert drain(spool) == numbers(1, 1)
    spool.close()
    assert secret.read_bytes() == encode_line(b"{}")


def test_a_folder_that_anybody_may_write_to_holds_no_spool(tmp_path: Path) -> None:
    root = tmp_path / "platform"
    (root / "1").mkdir(parents=True)
    (root / "1").chmod(0o777)
    with pytest.raises(OSError, match="anybody may write"):
        Spool.claim(root)
    (root / "1").chmod(0o770)
    Spool.claim(root).close()


def test_what_is_left_in_a_folder_after_a_gap_is_taken_over_too(tmp_path: Path) -> None:
    first, second, third = (Spool.claim(tmp_path / "platform") for _ in range(3))
    third.append(numbers(1, 2))
    for one in (first, second, third):
        one.close()
    shutil.rmtree(tmp_path / "platform" / "2")
    again = Spool.claim(tmp_path / "platform")
    assert drain(again) == numbers(1, 2)
    again.close()
