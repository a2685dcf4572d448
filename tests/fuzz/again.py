"""Runs inputs through a target as they are, without a fuzzer."""

import sys
from collections.abc import Callable
from pathlib import Path

Judge = Callable[[bytes], None]


def run_again(judge: Judge) -> None:
    """Judge each file that the command line names; the first that breaks a promise raises."""
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} FILE...")
    for name in sys.argv[1:]:
        judge(Path(name).read_bytes())
        sys.stdout.write(f"{name}: as promised\n")
