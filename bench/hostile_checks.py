"""What the most expensive requests that an attacker can send cost, decided and recorded (`bench.authz` prints it)."""

import time
import timeit
from collections.abc import Callable

from authz.audit import Pseudonyms, audit_event
from authz.pipeline import decide
from authz.request import Request
from tests.unit.authz import hostile as hostiles
from tests.unit.authz import world


def microseconds(call: Callable[[], object], number: int = 50, rounds: int = 100) -> float:
    call()
    return round(min(timeit.repeat(call, number=number, repeat=rounds, timer=time.process_time)) / number * 1e6, 1)


def hostile(count: int = 8) -> dict[str, float]:
    """Milliseconds that the slowest of the hostile requests take, decided and recorded, each the least of three."""
    known, pseudonyms = world.facts(), Pseudonyms()

    def answer(asked: Request) -> None:
        decision = decide(asked, hostiles.RULES[asked.gateway], known, world.NOW)
        audit_event(asked, decision, world.NOW, pseudonyms)

    found = {
        name: microseconds(lambda asked=asked: answer(asked), number=1, rounds=3) / 1e3  # type: ignore[misc]
        for name, asked in hostiles.requests()
    }
    return dict(sorted(found.items(), key=lambda each: -each[1])[:count])
