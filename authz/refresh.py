"""Issuers' public keys, fetched in the background and kept while the issuer is down.

A check never waits for the network, with one exception that cannot be used against us: a token that names a key
nobody knows may wait for one fetch, a moment, once per cooldown, however many such tokens come (attack A14).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

import httpx2
import structlog

from authz.facts import FactsBoard
from authz.identity.keys import KeySet, read_keys
from authz.metrics import AuthzMetrics
from authz.strict_json import read_json
from policy.access import Algorithm, Jwks

MAX_DOCUMENT: Final = 256 * 1024
FETCH_SECONDS: Final = 3.0
COOLDOWN_SECONDS: Final = 10.0
# Well inside Envoy's time-out for the check that waits.
_FIND_SECONDS: Final = 0.1
_MAX_UNKNOWN: Final = 1024
_UNKNOWN_SECONDS: Final = 60.0
_FIRST_RETRY: Final = 1.0
_LOG: Final = structlog.get_logger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]


class FetchError(Exception):
    """A key set could not be fetched, or is not one that can be used."""


async def fetch_document(client: httpx2.AsyncClient, url: str) -> bytes:
    """The octets at `url`. Raises FetchError for anything but a plain 200 of bounded size and time (attack A15)."""
    headers = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}
    try:
        async with (
            asyncio.timeout(FETCH_SECONDS),
            client.stream("GET", url, headers=headers, follow_redirects=False) as response,
        ):
            if response.status_code != 200:
                raise FetchError(f"status {response.status_code}")
            if response.headers.get("content-encoding", "identity") != "identity":
                raise FetchError("compressed")
            document = bytearray()
            async for octets in response.aiter_raw():
                document += octets
                if len(document) > MAX_DOCUMENT:
                    raise FetchError("too large")
            return bytes(document)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, TimeoutError) as error:
        raise FetchError(type(error).__name__) from error


class JwksRefresher:
    """One issuer's key set: fetched on time and on demand, never twice at once, never replaced by something worse."""

    def __init__(
        self,
        issuer: str,
        algorithm: Algorithm,
        source: Jwks,
        keys: str,
        *,
        fetch: Fetch,
        board: FactsBoard,
        metrics: AuthzMetrics,
        cooldown: float = COOLDOWN_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`issuer`: policy's name of it. `keys`: what its keys are put on the board as.

        `cooldown`: seconds between fetches that unknown kids can bring about.
        """
        self._issuer = issuer
        self._algorithm = algorithm
        self._source = source
        self._keys = keys
        self._fetch = fetch
        self._board = board
        self._metrics = metrics
        self._cooldown = cooldown
        self._clock = clock
        self._monotonic = monotonic
        self._flight: asyncio.Task[bool] | None = None
        self._fetched_at = float("-inf")
        self._failures = 0
        # kid -> until when it is known to be unknown.
        self._unknown: OrderedDict[str, float] = OrderedDict()

    @property
    def next_in(self) -> float:
        """Seconds until the next fetch: the refresh time, or less after failures."""
        if not self._failures:
            return float(self._source.refresh_seconds)
        return min(float(self._source.refresh_seconds), _FIRST_RETRY * float(1 << min(self._failures - 1, 10)))

    async def run(self) -> None:
        """Refreshes until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self.next_in)

    async def refresh(self) -> bool:
        """Whether the key set is now fresh; joins the fetch that is under way, if one is."""
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._load())
        # The fetch belongs to all who wait for it: one that gives up does not end it.
        return await asyncio.shield(self._flight)

    async def find(self, kid: str) -> bool:
        """Whether the issuer has a key `kid`, if need be after one fetch."""
        if self._knows(kid):
            return True
        now = self._monotonic()
        fetching = self._flight is not None and not self._flight.done()
        if self._unknown.get(kid, now) > now or (not fetching and now - self._fetched_at < self._cooldown):
            return False
        try:
            fresh = await asyncio.wait_for(self.refresh(), _FIND_SECONDS)
        except TimeoutError:
            return False
        if self._knows(kid):
            return True
        if fresh:
            while len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.popitem(last=False)
            self._unknown[kid] = now + _UNKNOWN_SECONDS
        return False

    def close(self) -> None:
        """Ends the fetch that is under way, if one is."""
        if self._flight is not None:
            self._flight.cancel()

    def _knows(self, kid: str) -> bool:
        key_set = self._board.current.key_sets.get(self._keys)
        return key_set is not None and bool(key_set.candidates(kid))

    async def _load(self) -> bool:
        self._fetched_at = self._monotonic()
        try:
            if self._source.url is None:
                raise FetchError("no address")
            key_set = self._read(await self._fetch(self._source.url))
        except Exception as error:  # noqa: BLE001 whatever an issuer sends, the last good set stays until it is too old
            self._failures += 1
            self._metrics.fetch_failed(self._issuer)
            why = str(error) if isinstance(error, FetchError) else type(error).__name__
            _LOG.warning("keys_not_fetched", issuer=self._issuer, error=why, failures=self._failures)
            return False
        self._failures = 0
        self._board.put_key_set(self._keys, key_set)
        self._metrics.fetched(self._issuer, self._clock())
        return True

    def _read(self, octets: bytes) -> KeySet:
        document = read_json(octets)
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise FetchError("not a key set")
        keys, refused = read_keys(entries, self._algorithm)
        if refused:
            _LOG.warning("keys_refused", issuer=self._issuer, why=sorted(set(refused)))
        # An issuer without keys is an issuer with a fault, not one that revoked them all.
        if not keys:
            raise FetchError("no usable key")
        return KeySet(keys, usable_until=self._clock() + self._source.max_stale_seconds)
