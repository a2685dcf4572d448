"""Search one target for an input that breaks what it promises: `python -m tests.fuzz NAME [SECONDS]` (`make fuzz`).

Coverage-guided (atheris over libFuzzer). What is learned is kept in .fuzz/NAME, so that the next search goes on from
there; what is found is left beside it, and `python -m tests.fuzz.NAME FILE` runs it again without the fuzzer.
"""

import sys
from importlib import import_module
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"
KEPT = Path(".fuzz")
DEFAULT_SECONDS = 60
MOST_OCTETS = 4096
# One input may take this long: there is nothing that should take a tenth of it.
TIME_OUT_SECONDS = 5


def main() -> None:
    name = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else DEFAULT_SECONDS
    kept = KEPT / name
    kept.mkdir(parents=True, exist_ok=True)
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["authz"]):
        target = import_module(f"tests.fuzz.{name}")
    options = {
        "max_total_time": seconds,
        "max_len": MOST_OCTETS,
        "timeout": TIME_OUT_SECONDS,
        "artifact_prefix": f"{KEPT}/{name}-",
        "print_final_stats": 1,
    }
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(kept), str(CORPUS / name)], target.judge)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
