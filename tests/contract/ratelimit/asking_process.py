"""A process that asks a store: `python -m tests.contract.ratelimit.asking_process URL TIMES MODE`.

It says that it is ready, waits for a line, charges all at once, and writes how many were admitted. `one`: one counter
with a limit of 100. `pairs`: each request charges a counter of its caller (one of 500, limit 1) and a shared one (50).
"""

import asyncio
import sys

from ratelimit.algorithms import SlidingWindow
from ratelimit.store import Charge, Outcome
from ratelimit.stores import open_store

DAY = 86_400_000_000
HUNDRED, FIFTY, ONE = SlidingWindow(100, DAY), SlidingWindow(50, DAY), SlidingWindow(1, DAY)
CALLERS = 500


def own(number: int) -> Charge:
    return Charge(b"rl:{test}:own-%d" % (number % CALLERS), ONE)


HOT, SHARED = Charge(b"rl:{test}:hot", HUNDRED), Charge(b"rl:{test}:shared", FIFTY)


def request(mode: str, number: int) -> tuple[Charge, ...]:
    return (HOT,) if mode == "one" else (own(number), SHARED)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(url: str, times: int, mode: str) -> None:
    store = open_store(url, timeout=30)
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    outcomes = await asyncio.gather(*(store.charge(request(mode, number)) for number in range(times)))
    _say(str(sum(isinstance(outcome, Outcome) and outcome.admitted for outcome in outcomes)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
