"""`make bench`: every benchmark, one after the other, so that they do not take each other's cores."""

import runpy
import sys

MODULES = (
    "bench.compiler",
    "bench.streams",
    "bench.changes",
    "bench.ratelimit",
    "bench.authz",
    "bench.one_hop",
    "bench.through_envoy",
    "bench.timing_of_refusals",
    "bench.pages",
    "bench.stack",
    "bench.sizing",
)


def main() -> None:
    """Run those that are named on the command line, or all."""
    wanted = sys.argv[1:]
    for module in MODULES:
        if not wanted or module.removeprefix("bench.") in wanted:
            print(f"\n== {module} ==", flush=True)
            sys.argv = [module]
            runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    main()
