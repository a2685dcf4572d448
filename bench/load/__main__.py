"""Load on the whole federation: `make load`, or `python -m bench.load sustained --minutes 60`.

Starts a federation of its own, or uses the one that runs in --state-dir. Exit code 1 where a target is missed.
"""

# First: Locust has gevent put itself into sockets, before anything else holds one.
import locust  # noqa: F401  isort: skip

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from apibank.ready import Ready, StackNotRunningError, read_ready
from bench.load.arrivals import arrivals
from bench.load.callers import Callers
from bench.load.figures import Result, result_of, table
from bench.load.offering import offer
from bench.load.scenarios import (
    SCENARIOS,
    STRESS_FACTOR,
    STRESS_FROM,
    STRESS_MOST,
    STRESS_SECONDS,
    STRESS_TARGET,
    WIDE,
    Scenario,
)
from tests.support.stack import running_stack

# Connections are made, tokens and keys are remembered: what a federation does that has run for a while.
_WARM_SECONDS = 5.0


def run(scenario: Scenario, ready: Ready, minutes: float | None = None) -> Result:
    """Offer a scenario, after a few seconds at its rate that are not counted."""
    kinds = Callers(ready).cycle(scenario.kinds)
    seconds = (scenario.minutes if minutes is None else minutes) * 60
    host = ready.central.https
    offer(kinds, arrivals(scenario.per_minute, min(_WARM_SECONDS, seconds), seed=2), ready.ca_file, host)
    samples = offer(kinds, arrivals(scenario.per_minute, seconds), ready.ca_file, host)
    return result_of(scenario.name, samples, seconds, scenario.target)


def stress(ready: Ready) -> list[Result]:
    """R100: raise the rate until something breaks; the last result is that of the breaking point."""
    results: list[Result] = []
    rate = STRESS_FROM
    while rate <= STRESS_MOST and (not results or results[-1].is_met):
        step = Scenario(f"stress {rate:.0f}", "", rate, STRESS_SECONDS / 60, ("content",), STRESS_TARGET)
        results.append(run(step, ready))
        print(f"  {rate:8.0f} a minute: p95 {results[-1].p95:7.1f} ms: {results[-1].verdict}", file=sys.stderr)
        rate *= STRESS_FACTOR
    return results


@contextlib.contextmanager
def federation(state_dir: Path | None, *, is_wide: bool) -> Iterator[Ready]:
    """The one that runs there, or one of our own."""
    if state_dir is not None:
        yield read_ready(state_dir)
        return
    with tempfile.TemporaryDirectory(prefix="apibank-load-") as folder:
        overlay = Path(folder) / "load.yaml"
        overlay.write_text(WIDE, encoding="utf-8")
        more = ("--profile", str(overlay)) if is_wide else ()
        with running_stack(Path(folder) / "state", "--profile", "dev", *more) as stack:
            yield stack.ready


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    named = "; ".join(f"{one.name}: {one.per_minute:.0f} a minute, {one.words}" for one in SCENARIOS.values())
    parser.add_argument("scenario", nargs="*", default=list(SCENARIOS), help=f"{named}; stress: until something breaks")
    parser.add_argument("--minutes", type=float, help="how long, instead of what each scenario says")
    parser.add_argument("--state-dir", type=Path, help="of a running federation, instead of one of its own")
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    given = parser.parse_args()
    unknown = [name for name in given.scenario if name not in {*SCENARIOS, "stress"}]
    if unknown:
        parser.error(f"no scenario is called {', '.join(unknown)}; there are: {', '.join(SCENARIOS)}, stress")
    if given.minutes is not None and given.minutes <= 0:
        parser.error("--minutes is more than nothing")
    results: list[Result] = []
    try:
        for is_wide in (False, True):
            chosen = [name for name in given.scenario if (name == "stress") is is_wide]
            if not chosen:
                continue
            with federation(given.state_dir, is_wide=is_wide) as ready:
                for name in chosen:
                    found = stress(ready) if is_wide else [run(SCENARIOS[name], ready, given.minutes)]
                    results += found
    except StackNotRunningError as error:
        sys.exit(f"error: {error}")
    if given.json:
        print(json.dumps([{**asdict(one), "verdict": one.verdict} for one in results], indent=2))
    else:
        print(f"{os.cpu_count()} cores, load of the machine {os.getloadavg()[0]:.1f}; durations in milliseconds\n")
        print(table(results))
    # A breaking point is what stress looks for.
    sys.exit(any(not one.is_met for one in results if not one.name.startswith("stress")))


if __name__ == "__main__":
    main()
