"""What compiling a policy costs: `python -m bench.compiler`.

Routes are drawn on the policy of marketing: 200, 1,000 and 10,000 of them, each with a checked body, a third with
limits of their own. `cold` has seen none of them before; `one changed` is the same policy with one route's time-out
changed; `envoy-data-plane` encodes the same messages with `bytes()`, sixteen routes of them, scaled.
"""

import argparse
import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

# envoy-data-plane 2.2 decorates its validators in a way that pydantic 2.12 calls deprecated.
warnings.filterwarnings("ignore", category=DeprecationWarning)

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration  # noqa: E402

from policy.load import load_gateway  # noqa: E402
from policy.model import Gateway, Route  # noqa: E402
from policy.problem import Source  # noqa: E402
from xds import snapshot  # noqa: E402
from xds.compiler import Material, compile_, forget, material_files  # noqa: E402

SIZES = (200, 1_000, 10_000)
# Milliseconds (XDS.md §9).
TARGETS = {"cold": 5_000.0, "one changed": 50.0}
_POLICY = Path(__file__).parents[1] / "envoy" / "gateways" / "marketing.yaml"


def policy(base: Gateway, size: int, changed: int | None = None) -> Gateway:
    """A gateway with that many routes; of one the time-out differs."""
    routes = {
        f"route-{number}": Route.model_validate(
            {
                "path": f"/api/marketing/service-{number}/v{number % 7}",
                "upstream": "marketing-agents",
                "body": {"POST": "content-request"},
                "limits": ("requests",) if number % 3 == 0 else None,
                "timeout_ms": 1234 if number == changed else None,
            }
        )
        for number in range(size)
    }
    return base.model_copy(update={"routes": routes})


def measure(size: int, rounds: int) -> Mapping[str, float]:
    """Milliseconds of CPU, medians of the rounds."""
    base = load_gateway(Gateway, Source(_POLICY.name, _POLICY.read_text())).gateway
    material = {name: Material(b"PEM") for name in material_files(base)}
    whole = policy(base, size)
    variants = [policy(base, size, changed) for changed in range(rounds)]
    versions = [_milliseconds(partial(getattr, one, "version")) for one in (whole, *variants)]
    # As a control plane should once it has started: pydantic has built its validators, and the collector has no
    # business with what will stay.
    _some(base, material)
    gc.collect()
    gc.freeze()
    forget()
    cold = _milliseconds(partial(compile_, whole, material))
    changed = [_milliseconds(partial(compile_, one, material)) for one in variants]
    body = compile_(whole, material).resources[snapshot.ROUTE]["mesh"].body
    return {
        "cold": cold,
        "one changed": statistics.median(changed),
        "policy version": statistics.median(versions),
        "envoy-data-plane": _by_bytes(RouteConfiguration.parse(_some(base, material))) * size / 16,
        "kilobytes": len(body) / 1000,
    }


def _some(base: Gateway, material: Mapping[str, Material]) -> bytes:
    return compile_(policy(base, 16), material).resources[snapshot.ROUTE]["mesh"].body


def _by_bytes(message: RouteConfiguration) -> float:
    return _milliseconds(partial(bytes, message))


def _milliseconds(work: Callable[[], object]) -> float:
    # Time of this process alone: others on the machine must not change the figures.
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = {size: measure(size, arguments.rounds) for size in SIZES}
    if arguments.json:
        print(json.dumps(figures))
        return
    columns = ("cold", "one changed", "policy version", "envoy-data-plane", "kilobytes")
    print(f"{'routes':>8} " + " ".join(f"{column:>18}" for column in columns))
    for size, measured in figures.items():
        print(f"{size:>8} " + " ".join(f"{measured[column]:>18.1f}" for column in columns))
    largest = figures[max(SIZES)]
    for what, target in TARGETS.items():
        print(f"{what}, {max(SIZES)} routes: {largest[what] / target:.2f} of the {target:.0f} ms that it may take")
    ratio = largest["envoy-data-plane"] / largest["cold"]
    print(f"bytes() of envoy-data-plane alone takes {ratio:.0f} times as long as compiling and encoding here")


if __name__ == "__main__":
    main()
