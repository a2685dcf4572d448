"""Whether a federation stays as it is: `make soak`, or `python -m bench.soak --minutes 60`.

Steady requests to three domains and the platform, while a policy is changed again and again and tokens are new all the
time. Memory, file descriptors and threads of every process, and the requests' durations, are noted from beginning to
end; what has grown is named. Exit code 1 where something has.
"""

import argparse
import asyncio
import itertools
import os
import shutil
import ssl
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2
import psutil

from bench.load.figures import quantile
from tests.support.client import CONTENT
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens

MINUTES: Final = 10.0
REQUESTS_PER_SECOND: Final = 40.0
SAMPLE_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 30.0
# Caches fill and pools grow at first: that part says nothing of a leak.
WARM_UP: Final = 0.3
# In an hour, more than noise: MiB of memory beside a share of what there was, descriptors, threads.
MOST_MIB, MOST_SHARE, MOST_FILES, MOST_THREADS = 16.0, 0.10, 8.0, 4.0
# How much slower the last third may be than the first.
MOST_SLOWER: Final = 1.5
_CALLERS: Final = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment, in seconds from the start."""

    at: float
    mib: float
    files: int
    threads: int


@dataclass(slots=True)
class Run:
    """What was noted. `took`: (moment, milliseconds) of each request. A process that was started anew has a new pid."""

    samples: dict[str, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    took: list[tuple[float, float]] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    changes: int = 0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Growth an hour of values over seconds: the median of all slopes (Theil-Sen), which no single peak moves."""
    slopes = [
        (later[1] - earlier[1]) / (later[0] - earlier[0])
        for earlier, later in itertools.combinations(points, 2)
        if later[0] > earlier[0]
    ]
    return statistics.median(slopes) * 3600 if slopes else 0.0


@dataclass(frozen=True, slots=True)
class Growth:
    """Of one process, an hour. `mib`: what it had in the end."""

    name: str
    mib: float
    mib_an_hour: float
    files_an_hour: float
    threads_an_hour: float

    @property
    def what(self) -> str:
        """What has grown beyond noise; empty where nothing has."""
        found = []
        if self.mib_an_hour > max(MOST_MIB, MOST_SHARE * self.mib):
            found.append("memory")
        if self.files_an_hour > MOST_FILES:
            found.append("file descriptors")
        if self.threads_an_hour > MOST_THREADS:
            found.append("threads")
        return ", ".join(found)


def growths(samples: Mapping[str, Sequence[Sample]], seconds: float) -> Sequence[Growth]:
    """Of every process that was there after the warm-up."""
    found = []
    for name, every in sorted(samples.items()):
        late = [one for one in every if one.at >= WARM_UP * seconds]
        if len(late) < 3:
            continue
        found.append(
            Growth(
                name,
                late[-1].mib,
                slope([(one.at, one.mib) for one in late]),
                slope([(one.at, float(one.files)) for one in late]),
                slope([(one.at, float(one.threads)) for one in late]),
            )
        )
    return found


def thirds(took: Sequence[tuple[float, float]], seconds: float) -> tuple[float, float]:
    """The p95 of the first and of the last third of what comes after the warm-up, in milliseconds."""
    begin = WARM_UP * seconds
    third = (seconds - begin) / 3
    first = [one for at, one in took if begin <= at < begin + third]
    last = [one for at, one in took if at >= seconds - third]
    return quantile(first, 0.95), quantile(last, 0.95)


def sample(stack: Stack, run: Run, started: float) -> None:
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        try:
            with process.oneshot():
                line = [word for word in process.cmdline()[1:] if not word.startswith("-") and "/" not in word]
                kind = Path(process.cmdline()[0]).name
                own = [word for word in process.cmdline() if "/envoy/envoy-" in word]
                name = Path(own[0]).stem if own else " ".join((kind, *line[1:4]))
                one = Sample(
                    time.monotonic() - started,
                    process.memory_info().rss / 2**20,
                    process.num_fds(),
                    process.num_threads(),
                )
        except (psutil.NoSuchProcess, IndexError):
            continue
        run.samples[f"{name} [{process.pid}]"].append(one)


async def requests(stack: Stack, run: Run, started: float, end: float) -> None:
    """At a steady rate, each with a token that nobody has shown before."""
    tokens, base = Tokens(stack.state_dir), stack.ready.central.https
    kinds = (
        ("marketing", "customer", "POST", "/api/marketing/content", CONTENT),
        ("sales", "company", "GET", "/api/sales/leads", None),
        ("education", "student", "GET", "/api/education/math", None),
        ("platform", "", "GET", "/api/platform/health", None),
    )
    context = ssl.create_default_context(cafile=stack.ca_file)
    under_way: set[asyncio.Task[None]] = set()

    async def one(http: httpx2.AsyncClient, number: int) -> None:
        gateway, role, method, path, body = kinds[number % len(kinds)]
        headers = {}
        if role:
            token = await asyncio.to_thread(
                tokens.mint, "customer",
                {"sub": f"soak-{number % _CALLERS}", "role": role, "tier": "business", "scopes": [f"{gateway}:*"]},
            )  # fmt: skip
            headers["authorization"] = f"Bearer {token}"
        begun = time.monotonic()
        try:
            answer = await http.request(method, base + path, json=body, headers=headers)
        except httpx2.HTTPError as error:
            run.failed[type(error).__name__] += 1
            return
        run.took.append((begun - started, (time.monotonic() - begun) * 1e3))
        if answer.status_code >= 300 and answer.status_code != 429:
            run.failed[f"{answer.status_code} {path}"] += 1

    async with httpx2.AsyncClient(verify=context, timeout=20) as http:
        for number in itertools.count():
            due = started + number / REQUESTS_PER_SECOND
            if due >= end:
                break
            await asyncio.sleep(max(due - time.monotonic(), 0))
            task = asyncio.create_task(one(http, number))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)


async def changes(policies: Path, run: Run, end: float) -> None:
    """A route more and a route less, again and again."""
    file = policies / "sales.yaml"
    text = file.read_text(encoding="utf-8")
    more = text.replace("routes:\n", "routes:\n  soak:\n    path: /api/sales/soak\n    upstream: sales-agents\n", 1)
    for wanted in itertools.cycle((more, text)):
        if time.monotonic() + CHANGE_SECONDS >= end:
            return
        partial = file.with_suffix(".tmp")
        partial.write_text(wanted, encoding="utf-8")
        partial.replace(file)
        run.changes += 1
        await asyncio.sleep(CHANGE_SECONDS)


async def soak(stack: Stack, policies: Path, seconds: float) -> Run:
    run, started = Run(), time.monotonic()
    end = started + seconds

    async def sampling() -> None:
        while time.monotonic() < end:
            await asyncio.to_thread(sample, stack, run, started)
            await asyncio.sleep(SAMPLE_SECONDS)

    await asyncio.gather(requests(stack, run, started, end), changes(policies, run, end), sampling())
    return run


def report(run: Run, seconds: float) -> bool:
    """Prints what was found; whether everything stayed as it was."""
    found = growths(run.samples, seconds)
    print(f"{seconds / 60:.0f} minutes, {len(run.took)} requests, {run.changes} changes; {os.cpu_count()} cores\n")
    print(f"{'process':44} {'MiB':>8} {'MiB/h':>9} {'files/h':>9} {'threads/h':>9}")
    for one in found:
        print(
            f"{one.name[:44]:44} {one.mib:8.1f} {one.mib_an_hour:9.1f} {one.files_an_hour:9.1f} "
            f"{one.threads_an_hour:9.1f}  {one.what}"
        )
    first, last = thirds(run.took, seconds)
    print(f"\np95 of the first third {first:.1f} ms, of the last {last:.1f} ms")
    failed = sum(run.failed.values())
    for why, count in sorted(run.failed.items()):
        print(f"  {count} x {why}")
    grown = [f"{one.what} of {one.name}" for one in found if one.what]
    slower = last > MOST_SLOWER * first
    print("flat" if not (grown or slower or failed) else "not flat: " + "; ".join(
        [*grown, *(["requests became slower"] if slower else []), *([f"{failed} requests failed"] if failed else [])]
    ))  # fmt: skip
    return not (grown or slower or failed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory(prefix="apibank-soak-") as folder:
        policies = Path(folder) / "gateways"
        shutil.copytree(ROOT / "envoy" / "gateways", policies)
        with running_stack(Path(folder) / "state", "--policies", str(policies), "--profile", "dev") as stack:
            run = asyncio.run(soak(stack, policies, seconds))
    sys.exit(not report(run, seconds))


if __name__ == "__main__":
    main()
