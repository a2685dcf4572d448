"""Whether the time of a refusal tells which secret nearly fitted, or whether there is one at all (attacks A25, A30).

Two kinds of refusal that look alike take turns, 10,000 times each, in an order that is drawn. Their times are compared
by Welch's t after the slowest tenth is cut off, as dudect does; below 4.5 nothing could be told apart, however often
it was tried so far. A machine with other work on it shows noise, so the least of five rounds counts.
"""

import random
import statistics
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from authz.case import Case
from authz.checks.identity import check_identity
from authz.request import Request
from authz.rules import Rules
from tests.unit.authz import world

SAMPLES: Final = 10_000
ROUNDS: Final = 5
_KEPT: Final = 0.9
TELLS: Final = 4.5
# Always the same, so that all signatures are over the same text.
_NONCE: Final = "n" * 16


def welch(one: list[float], other: list[float]) -> float:
    """How many standard errors the means of the quicker nine tenths lie apart."""
    cut = [sorted(each)[: int(len(each) * _KEPT)] for each in (one, other)]
    error: float = sum(statistics.variance(each) / len(each) for each in cut) ** 0.5
    return abs(statistics.fmean(cut[0]) - statistics.fmean(cut[1])) / error


def times(one: Callable[[], object], other: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Nanoseconds of each, in turns that are drawn."""
    found: tuple[list[float], list[float]] = ([], [])
    turns = [0, 1] * SAMPLES
    random.shuffle(turns)
    for turn in turns:
        call = other if turn else one
        started = time.perf_counter_ns()
        call()
        found[turn].append(time.perf_counter_ns() - started)
    return found


def signature(octets: bytes, agent: str = "content") -> Request:
    """A request of this agent with these octets as its signature."""
    asked = world.signed(agent="content", nonce=_NONCE)
    fields = dict(asked.headers)
    fields["signature-input"] = fields["signature-input"].replace('keyid="content"', f'keyid="{agent}"')
    fields["signature"] = f"sig1=:{world.b64(octets).replace('-', '+').replace('_', '/')}=:"
    return replace(asked, headers=fields)


def pairs() -> dict[str, tuple[Rules, Request, Request]]:
    """What must not be told apart, with the rules under which it is refused."""
    right = world.signed(agent="content", nonce=_NONCE).headers["signature"]
    near = b64decode(right.split(":")[1])
    late, early = bytes(near[:-1]) + bytes([near[-1] ^ 1]), bytes([near[0] ^ 1]) + bytes(near[1:])
    key = "waw_live_sk_" + "Z" * 20
    good = world.token()
    head, _, tail = good.rpartition(".")
    rules = world.rules()
    return {
        "signature wrong in its first or its last octet": (world.AGENTS, signature(early), signature(late)),
        "an agent that is there or is not": (world.AGENTS, signature(bytes(32)), signature(bytes(32), "contenx")),
        "a key that nearly is one or is not": (
            rules,
            world.request("plain", key=world.API_KEY[:-1] + "k"),
            world.request("plain", key=key),
        ),
        "a token's signature wrong at its start or its end": (
            rules,
            world.request("plain", token=f"{head}.{'A' if tail[0] != 'A' else 'B'}{tail[1:]}"),
            world.request("plain", token=f"{head}.{tail[:-2]}{'A' if tail[-2] != 'A' else 'B'}{tail[-1]}"),
        ),
    }


def main() -> None:
    known = world.facts()
    print(f"{SAMPLES} refusals of each kind; t below {TELLS}: not told apart")
    for name, (rules, one, other) in pairs().items():

        def refuse(asked: Request, rules: Rules = rules) -> object:
            return check_identity(Case(asked, rules, rules.routes[asked.route], known, world.NOW))

        assert refuse(one) is not None
        assert refuse(other) is not None
        rounds = [times(lambda: refuse(one), lambda: refuse(other)) for _ in range(ROUNDS)]  # noqa: B023
        t = min(welch(*each) for each in rounds)
        medians = [statistics.median(each) / 1000 for each in rounds[-1]]
        said = "not told apart" if t < TELLS else "TOLD APART"
        print(f"{name:52} t = {t:5.2f}  {medians[0]:7.2f} and {medians[1]:7.2f} us  {said}")


if __name__ == "__main__":
    main()
