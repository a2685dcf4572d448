"""From a saved file to every Envoy, in a gateway of a thousand routes: `python -m bench.changes`.

The whole federation runs; one gateway has 1,000 routes and three Envoys. Each change is another time-out of one route.
It is over when the control plane knows that every Envoy has acknowledged it; the control API is asked every 10 ms.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import httpx2
import psutil

from bench.stack import quantile
from tests.support.stack import ROOT, Stack, running_stack

GATEWAY = "education"
ENVOYS = 3


def _path(index: int) -> str:
    return f"path: /api/education/bench-{index}, body: {{POST: question}}, upstream: education-agents, timeout_ms:"


def with_routes(text: str, number: int) -> str:
    """The gateway's file with so many routes more, each with a body to check."""
    more = "".join(f"  bench-{index}: {{{_path(index)} 5000}}\n" for index in range(number))
    assert "\nroutes:\n" in text
    return text.replace("\nroutes:\n", f"\nroutes:\n{more}")


def state(control: httpx2.Client) -> tuple[str, bool]:
    """The version that is published, and whether all of the gateway's Envoys run it."""
    gateways = control.get("/v1/status?resources=false").json()["gateways"]
    one = next(each for each in gateways if each["gateway"] == GATEWAY)
    return one["version"], one["live"] == one["envoys"] == ENVOYS


def changes(stack: Stack, file: Path, number: int) -> list[float]:
    """Seconds from each saving to the last acknowledgement."""
    secret = (stack.state_dir / "control.token").read_text(encoding="utf-8").strip()
    text = file.read_text(encoding="utf-8")
    took = []
    with httpx2.Client(base_url=stack.ready.control_api, headers={"authorization": f"Bearer {secret}"}) as control:
        for index in range(number):
            before, _ = state(control)
            partial = file.with_suffix(".tmp")
            marked = f"{_path(index * 7)} "
            assert marked + "5000" in text
            partial.write_text(text.replace(marked + "5000", marked + "4000"), encoding="utf-8")
            saved = time.perf_counter()
            partial.replace(file)
            while True:
                version, live = state(control)
                if version != before and live:
                    break
                time.sleep(0.01)
            took.append(time.perf_counter() - saved)
            time.sleep(0.3)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=50)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="apibank-bench-"))
    try:
        policies = folder / "gateways"
        shutil.copytree(ROOT / "envoy" / "gateways", policies)
        file = policies / f"{GATEWAY}.yaml"
        file.write_text(with_routes(file.read_text(encoding="utf-8"), arguments.routes), encoding="utf-8")
        options = ("--policies", str(policies), "--profile", "dev", "--envoys", f"{GATEWAY}={ENVOYS}")
        print(f"set-up: {os.cpu_count()} cores, {arguments.routes} routes, {ENVOYS} Envoys of the gateway, 5 others")
        with running_stack(folder / "state", *options) as stack:
            rss = psutil.Process(stack.ready.pids["control-plane"]).memory_info().rss
            took = changes(stack, file, arguments.changes)
            later = psutil.Process(stack.ready.pids["control-plane"]).memory_info().rss
        print(
            f"file saved to acknowledged by every Envoy, {len(took)} changes: "
            f"p50 {statistics.median(took) * 1000:.0f} ms, p99 {quantile(took, 0.99) * 1000:.0f} ms (goal 300)"
        )
        print(
            f"memory of the control plane: RSS {rss / 2**20:.0f} MiB, after the changes {later / 2**20:.0f} (goal 134)"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
