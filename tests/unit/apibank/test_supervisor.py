"""The supervisor, with real processes: readiness, order, restarts, and nothing left over."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from apibank.child_process import Child, trim_log
from apibank.supervisor import BackOff, Event, Happening, StartFailedError, Supervisor

SLEEP = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
# Says its pid and its own child's: a service with a worker.
PARENT = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '600']).pid, flush=True); time.sleep(600)"


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def python(name: str, code: str, ready: Callable[[], Awaitable[bool]] = at_once, **fields: object) -> Child:
    return Child(name, (sys.executable, "-c", code), ready, **fields)  # type: ignore[arg-type]


def said(log: Path) -> Callable[[], Awaitable[bool]]:
    async def probe() -> bool:
        return log.exists() and log.read_text().endswith("\n")

    return probe


@asynccontextmanager
async def supervising(folder: Path, events: list[Event]) -> AsyncIterator[Supervisor]:
    # Other tests of this process may have an Envoy that they share.
    before = set(psutil.Process().children(recursive=True))
    supervisor = Supervisor(folder / "logs", events.append, back_off=BackOff(shortest=0.01))
    try:
        yield supervisor
    finally:
        await supervisor.stop()
    assert supervisor.pids() == {}
    assert set(psutil.Process().children(recursive=True)) <= before


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def told(events: list[Event]) -> list[tuple[str, Happening]]:
    return [(event.child, event.happening) for event in events]


async def test_a_stage_begins_when_the_one_before_is_ready_and_ends_before_it(tmp_path: Path) -> None:
    events: list[Event] = []
    async with supervising(tmp_path, events) as supervisor:
        await supervisor.start(python("store", SLEEP))
        await supervisor.start(python("edge", SLEEP))
        assert set(supervisor.pids()) == {"store", "edge"}
    assert told(events) == [
        ("store", Happening.STARTED),
        ("store", Happening.READY),
        ("edge", Happening.STARTED),
        ("edge", Happening.READY),
        ("edge", Happening.STOPPED),
        ("store", Happening.STOPPED),
    ]


async def test_readiness_is_what_the_probe_says(tmp_path: Path) -> None:
    answers = iter([False, False, True])

    async def probe() -> bool:
        answer = next(answers)
        if not answer:
            raise ConnectionRefusedError
        return answer

    async with supervising(tmp_path, []) as supervisor:
        await supervisor.start(python("slow", SLEEP, probe))
    assert next(answers, None) is None


async def test_a_process_that_ends_while_the_stack_starts_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        with pytest.raises(StartFailedError) as failed:
            await supervisor.start(python("broken", "import sys; sys.exit('no such policy')", never))
    assert failed.value.child == "broken"
    assert "exited with code 1" in str(failed.value)
    assert "no such policy" in str(failed.value)


async def test_a_program_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        with pytest.raises(StartFailedError, match="/no/such/program cannot be started"):
            await supervisor.start(Child("ghost", ("/no/such/program",), never))


async def test_one_failed_start_does_not_wait_for_the_rest_of_its_stage(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        with pytest.raises(StartFailedError, match="broken"):
            await supervisor.start(
                python("patient", SLEEP, never, ready_seconds=600), python("broken", "raise SystemExit(3)", never)
            )


async def test_a_process_that_never_becomes_ready_is_an_error_and_is_ended(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        with pytest.raises(StartFailedError, match=r"not ready within 0\.1 s"):
            await supervisor.start(python("idle", SLEEP, never, ready_seconds=0.1))
        assert supervisor.pids() == {}


async def test_a_killed_process_is_started_again_with_all_that_belonged_to_it_gone(tmp_path: Path) -> None:
    events: list[Event] = []
    async with supervising(tmp_path, events) as supervisor:
        log = tmp_path / "logs" / "service.log"
        await supervisor.start(python("service", PARENT, said(log)))
        first, worker = supervisor.pids()["service"], int(log.read_text())
        os.kill(first, signal.SIGKILL)
        await until(lambda: told(events).count(("service", Happening.READY)) == 2)
        assert supervisor.pids()["service"] != first
        await until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)
    crash = next(event for event in events if event.happening is Happening.CRASHED)
    assert "ended by SIGKILL" in crash.detail


async def test_a_process_that_fails_again_and_again_is_tried_again_and_again(tmp_path: Path) -> None:
    events: list[Event] = []
    async with supervising(tmp_path, events) as supervisor:
        await supervisor.start(python("flaky", "import time; time.sleep(0.2)"))
        await until(lambda: told(events).count(("flaky", Happening.CRASHED)) == 3)


def test_pauses_double_up_to_a_bound_and_a_long_life_clears_the_record() -> None:
    back_off = BackOff(shortest=0.1, longest=5.0, stable=30.0)
    assert [back_off.pause(failures) for failures in (1, 2, 3, 6, 7, 5000)] == [0.1, 0.2, 0.4, 3.2, 5.0, 5.0]
    assert back_off.failures_after(4, lived=1.0) == 5
    assert back_off.failures_after(4, lived=30.0) == 1


async def test_a_process_that_does_not_heed_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    events: list[Event] = []
    async with supervising(tmp_path, events) as supervisor:
        await supervisor.start(python("deaf", DEAF, said(tmp_path / "logs" / "deaf.log"), stop_seconds=0.1))
    assert told(events)[-1] == ("deaf", Happening.KILLED)


async def test_a_stopped_process_is_ended_too(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        await supervisor.start(python("paused", SLEEP, stop_seconds=0.1))
        os.kill(supervisor.pids()["paused"], signal.SIGSTOP)


async def test_draining_comes_before_sigterm(tmp_path: Path) -> None:
    running: list[bool] = []
    async with supervising(tmp_path, []) as supervisor:

        async def drain() -> None:
            running.append(psutil.pid_exists(supervisor.pids()["edge"]))

        await supervisor.start(python("edge", SLEEP, drain=drain))
    assert running == [True]


async def test_draining_is_bounded_and_its_failure_does_not_keep_a_process_alive(tmp_path: Path) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise ConnectionRefusedError

    events: list[Event] = []
    async with supervising(tmp_path, events) as supervisor:
        await supervisor.start(
            python("hangs", SLEEP, drain=hang, drain_seconds=0.05), python("fails", SLEEP, drain=fail)
        )
    assert ("hangs", Happening.STOPPED) in told(events)
    assert ("fails", Happening.STOPPED) in told(events)


async def test_what_was_waiting_for_its_restart_is_not_started_any_more(tmp_path: Path) -> None:
    events: list[Event] = []
    supervisor = Supervisor(tmp_path / "logs", events.append, back_off=BackOff(shortest=600, longest=600))
    await supervisor.start(python("gone", SLEEP))
    os.kill(supervisor.pids()["gone"], signal.SIGKILL)
    await until(lambda: ("gone", Happening.CRASHED) in told(events))
    await supervisor.stop()
    assert told(events).count(("gone", Happening.STARTED)) == 1


async def test_an_interrupted_stop_kills_what_is_left(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        await supervisor.start(python("deaf", DEAF, said(tmp_path / "logs" / "deaf.log"), stop_seconds=600))
        pid = supervisor.pids()["deaf"]
        stopping = asyncio.create_task(supervisor.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait({stopping})
        await until(lambda: supervisor.pids() == {})
        assert not psutil.pid_exists(pid)


async def test_children_have_a_session_of_their_own_so_that_ctrl_c_reaches_only_us(tmp_path: Path) -> None:
    async with supervising(tmp_path, []) as supervisor:
        await supervisor.start(python("child", SLEEP))
        pid = supervisor.pids()["child"]
        assert os.getsid(pid) == pid != os.getsid(0)


ORPHAN_MAKER = """
import asyncio, sys
from pathlib import Path
from apibank.child_process import Child
from apibank.supervisor import Supervisor

async def ready():
    return True

async def main():
    supervisor = Supervisor(Path(sys.argv[1]), lambda event: None)
    await supervisor.start(*(Child(name, ("sleep", "600"), ready) for name in ("one", "two")))
    print(*supervisor.pids().values(), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a process to its parent's life")
def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHAN_MAKER, str(tmp_path)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    _gone, alive = psutil.wait_procs(children, timeout=10)
    # An init that does not reap leaves a zombie, which runs no more.
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_child_whose_parent_died_before_it_began_does_not_start(tmp_path: Path) -> None:
    launcher = Path(__file__).resolve().parents[3] / "apibank" / "launch.py"
    mark = tmp_path / "mark"
    run = subprocess.run(
        [sys.executable, "-I", "-S", str(launcher), "1", "touch", str(mark)], capture_output=True, check=False
    )
    assert run.returncode != 0
    assert not mark.exists()


async def test_what_a_process_prints_is_in_its_log_and_the_log_is_bounded(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "chatty.log"
    code = "import time\nfor n in range(100): print(n, 'x' * 100, flush=True)\ntime.sleep(600)"
    supervisor = Supervisor(tmp_path / "logs", lambda event: None, log_limit=1000)
    try:
        await supervisor.start(python("chatty", code))
        await until(lambda: (tmp_path / "logs" / "chatty.log.1").exists())
        assert log.stat().st_size <= 1000
    finally:
        await supervisor.stop()


def test_a_writer_goes_on_after_its_log_was_moved(tmp_path: Path) -> None:
    log = tmp_path / "some.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        trim_log(log, 100)
        writer.write(b"new\n")
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "some.log.1").read_bytes() == b"old\n" * 100
