"""What is offered, for how long, and which p95 is asked for."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Scenario:
    """`per_minute`: requests that begin. `kinds`: of `Callers`, in turn. `target`: p95 in milliseconds."""

    name: str
    words: str
    per_minute: float
    minutes: float
    kinds: tuple[str, ...]
    target: float | None = None


SCENARIOS: Final = {
    one.name: one
    for one in (
        Scenario("sustained", "R98: an hour by --minutes 60", 1_000, 2, ("content",), 200),
        Scenario("spike", "R99: five minutes by --minutes 5", 5_000, 1, ("content",), 500),
        Scenario("agents", "R61: all agents, each request signed", 10_000, 1, ("message",)),
        Scenario("mixed", "customers of two domains, and agents", 3_000, 1, ("content", "lead", "content", "message")),
    )
}
# R100: from here on, in steps, until something breaks.
STRESS_FROM: Final = 3_000.0
STRESS_FACTOR: Final = 1.5
STRESS_SECONDS: Final = 20.0
STRESS_MOST: Final = 200_000.0
# A p95 at which nobody would call it working.
STRESS_TARGET: Final = 500.0
# The limits of one caller and of the address that all of this comes from would be what breaks, and not the machine.
WIDE: Final = """\
profile: load
gateways:
  central:
    services: {flood_guard: {requests_per_second: 100000, burst: 100000}}
    limits:
      subject: {tiers: {business: 100000000}}
      fleet: {requests: 100000000}
  marketing:
    limits:
      requests: {tiers: {business: 100000000}}
"""
