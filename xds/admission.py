"""Which streams may start, and when: a storm of reconnecting proxies is spread out, and nobody takes every place.

Reads no clock; whoever asks says what time it is.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, fields
from typing import Final, Literal

from xds.protocol.messages import Node

# How long a stream may be kept waiting for its start, in seconds; beyond it the proxy shall come back later.
LONGEST_WAIT_SECONDS: Final = 1.0
# The age of a connection is drawn from this share around what is set, so that proxies do not come back all at once.
AGE_JITTER: Final = 0.1
# How much of one request counts as one, in bytes; a larger one counts as several.
_REQUEST_UNIT_BYTES: Final = 4096
# How many seconds' worth of requests a stream may send at once: a proxy acknowledges each of many resources.
_REQUEST_BURST_SECONDS: Final = 10.0

# What a node says of itself is kept, logged and shown as long as it is connected; an Envoy says less than 1 kB.
_LONGEST_NODE: Final = 16 * 1024

# Unicode's control characters, and what separates lines or turns their direction round.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

DenialReason = Literal["rate", "streams", "silent_streams", "node_streams", "node"]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one server bears. A stream is one xDS call, of which a proxy has one or few; times are in seconds.

    `max_connections` streams in all, `max_silent_streams` that have not said who they are (for
    `first_request_seconds` at most), `max_streams_per_node` of one proxy. `admissions_per_second` may start, as many
    at once, and those beyond wait up to a second or are refused. `concurrent_pushes` streams are sent a change at
    once. A stream that takes nothing for `write_seconds` is ended, one that sends more than `requests_per_second` is
    slowed down, one that subscribes to more than `max_names` resources is refused,
    or whose names have more than `max_names_length` characters. `max_connection_age_seconds` is
    how long a proxy stays before it is made to reconnect, give or take a tenth; None is for ever.

    Streams of load reports have as many places of their own, `max_load_streams_per_node` for each proxy, and end after
    `load_silence_seconds` without a report. `max_status_calls` ask for the client status at once, and a stream of such
    questions ends after `status_silence_seconds` without one. ValueError where a limit is not above zero.
    """

    max_connections: int = 4096
    max_silent_streams: int = 1024
    max_streams_per_node: int = 64
    admissions_per_second: float = 500.0
    concurrent_pushes: int = 512
    first_request_seconds: float = 10.0
    write_seconds: float = 30.0
    requests_per_second: float = 1000.0
    max_names: int = 200_000
    max_names_length: int = 32 * 2**20
    max_connection_age_seconds: float | None = None
    max_load_streams_per_node: int = 4
    load_silence_seconds: float = 60.0
    max_status_calls: int = 8
    status_silence_seconds: float = 60.0

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and not value > 0:
                raise ValueError(f"{limit.name} must be above zero, not {value}")


@dataclass(frozen=True, slots=True)
class Denial:
    """Why a stream may not start now: `reason` labels metrics, `text` is for whoever runs the client."""

    reason: DenialReason
    text: str


_TOO_MANY_STREAMS: Final = Denial("streams", "this control plane has as many streams as it bears; come back later")
_TOO_MANY_SILENT: Final = Denial("silent_streams", "too many streams have not said yet whose they are; come back later")
_TOO_FAST: Final = Denial("rate", "too many streams start at once; come back later")
_TOO_MANY_OF_NODE: Final = Denial("node_streams", "this node has as many streams as it may")
_NO_NODE: Final = Denial(
    "node", f"a node's id and cluster are without control characters, and all it says below {_LONGEST_NODE} bytes"
)


class Rate:
    """So many per second on average, and `burst` at once. The generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._interval = 1.0 / per_second
        self._tolerance = (burst - 1.0) * self._interval
        self._expected = float("-inf")

    def wait(self, now: float) -> float:
        """How many seconds from now the next one may go, if it is taken now."""
        return max(0.0, self._expected - self._tolerance - now)

    def take(self, now: float, count: int = 1) -> None:
        self._expected = max(self._expected, now) + count * self._interval


class Admission:
    """The places of one server. Every stream that was let in by `enter` must leave."""

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._rate = Rate(limits.admissions_per_second, max(1.0, limits.admissions_per_second))
        self.open = 0
        self.silent = 0
        self._by_node: Counter[tuple[str, str]] = Counter()

    def enter(self, now: float) -> float | Denial:
        """Take a place: how many seconds the stream has to wait for its start."""
        if self.open >= self._limits.max_connections:
            return _TOO_MANY_STREAMS
        if self.silent >= self._limits.max_silent_streams:
            return _TOO_MANY_SILENT
        wait = self._rate.wait(now)
        if wait > LONGEST_WAIT_SECONDS:
            return _TOO_FAST
        self._rate.take(now)
        self.open += 1
        self.silent += 1
        return wait

    def identify(self, node: Node) -> Denial | None:
        """The stream has said, and proven, whose it is. Call it once; it counts as this node's if it is let in."""
        if not _is_presentable(node):
            return _NO_NODE
        if self._by_node[_key(node)] >= self._limits.max_streams_per_node:
            return _TOO_MANY_OF_NODE
        self._by_node[_key(node)] += 1
        self.silent -= 1
        return None

    def leave(self, node: Node | None) -> None:
        """`node` is the one that `identify` has let in, None if it has let none in."""
        self.open -= 1
        if node is None:
            self.silent -= 1
            return
        self._by_node[_key(node)] -= 1
        if not self._by_node[_key(node)]:
            del self._by_node[_key(node)]


class Pace:
    """How fast one stream's requests are read."""

    def __init__(self, limits: ServerLimits) -> None:
        burst = max(1.0, limits.requests_per_second * _REQUEST_BURST_SECONDS)
        self._rate = Rate(limits.requests_per_second, burst)

    def read(self, size: int, now: float) -> float:
        """A request of this many bytes has been read: how many seconds to wait before the next one is."""
        self._rate.take(now, 1 + size // _REQUEST_UNIT_BYTES)
        return self._rate.wait(now)


def age_of(limits: ServerLimits, draw: float) -> float | None:
    """How many seconds a stream may last; `draw` is a random number from 0 to 1."""
    if limits.max_connection_age_seconds is None:
        return None
    return limits.max_connection_age_seconds * (1.0 - AGE_JITTER + 2.0 * AGE_JITTER * draw)


def _is_presentable(node: Node) -> bool:
    said = (node.id, node.cluster, node.user_agent, node.user_agent_version, node.region, node.zone, node.sub_zone)
    size = sum(len(each.encode()) for each in (*said, *node.client_features))
    return size <= _LONGEST_NODE and _CONTROL.search(node.id + node.cluster) is None


def _key(node: Node) -> tuple[str, str]:
    return node.cluster, node.id
