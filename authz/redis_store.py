"""What the replicas of a gateway share in Valkey or Redis: nonces that are spent, and credentials that failed."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Final, Self

import structlog

from authz.decision import NonceClaim
from authz.failures import WINDOW_SECONDS, FailureStoreError
from authz.nonces import NonceStoreError, one_of
from records.eviction import KEEPS, evicting_policy
from records.password_file import Changes
from records.redis_client import LOST_STORE, Client, client_of, reconnect
from records.store_address import parse_store_url

# Well inside Envoy's ext_authz time-out, so that the client gets our answer and not Envoy's.
_TIMEOUT: Final = 0.1
_LOOK_SECONDS: Final = 600.0
_LOOK_WITHIN: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)
_WINDOW_MILLISECONDS: Final = int(WINDOW_SECONDS * 1000)


class RedisNonceStore:
    """One key per nonce in the gateway's namespace, set only where it is absent, gone when its window has closed.

    Two gateways never share a nonce (C28): what central has seen, the gateway behind it sees for its first time.
    """

    def __init__(
        self, client: Client, gateway: str, timeout: float = _TIMEOUT, changed: Callable[[], bool] = lambda: False
    ) -> None:
        self._client = client
        self._changed = changed
        self._prefix = f"apibank:authz:{gateway}:nonce:"
        self._timeout = timeout
        self._looked_at = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._forgets = ""

    @classmethod
    def from_url(cls, url: str, gateway: str, timeout: float = _TIMEOUT) -> Self:
        """The URL of any store (records.store_address). Raises ValueError for what cannot be used."""
        # A nonce whose answer was lost may have been spent, so redis-py must not try again; the one time-out is ours.
        client, changed = _client(url, timeout)
        return cls(client, gateway, timeout, changed)

    async def close(self) -> None:
        """Close every connection. The store is not used after it."""
        if self._looking is not None:
            self._looking.cancel()
        await self._client.aclose()

    async def spend(self, claim: NonceClaim) -> bool:
        """Whether the nonce was unspent; it is spent afterwards. Raises NonceStoreError."""
        return one_of(await self.spend_many((claim,)))

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        try:
            if self._changed():
                await reconnect(self._client)
            async with asyncio.timeout(self._timeout), self._client.pipeline(transaction=False) as pipe:
                for claim in claims:
                    key = f"{self._prefix}{claim.key_id}:{claim.nonce}"
                    pipe.set(key, b"1", nx=True, px=claim.seconds * 1000)
                answers = await pipe.execute(raise_on_error=False)
        except LOST_STORE as error:
            # Which of them were spent is not known, so none of them is taken for unspent.
            return [NonceStoreError(type(error).__name__)] * len(claims)
        if monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = monotonic()
            self._looking = asyncio.create_task(self._tell_what_is_forgotten())
        return [_outcome(answer) for answer in answers]

    async def _tell_what_is_forgotten(self) -> None:
        """A store that makes room by evicting forgets nonces whose signatures still pass; many hosted ones do."""
        try:
            async with asyncio.timeout(_LOOK_WITHIN):
                found = await self._client.info("memory")
        except LOST_STORE:
            # It may be that it does not say; the next look is soon enough.
            return
        forgets = evicting_policy(found)
        if forgets and forgets != self._forgets:
            _LOG.warning("nonces_can_be_evicted", maxmemory_policy=forgets, expected=KEEPS)
        self._forgets = forgets


class RedisFailures:
    """The common count of failed credentials: one key per address, gone a minute after its first failure."""

    def __init__(
        self, client: Client, gateway: str, timeout: float = _TIMEOUT, changed: Callable[[], bool] = lambda: False
    ) -> None:
        self._client = client
        self._prefix = f"apibank:authz:{gateway}:failures:"
        self._timeout = timeout
        self._changed = changed

    @classmethod
    def from_url(cls, url: str, gateway: str, timeout: float = 1.0) -> Self:
        """As `RedisNonceStore.from_url`; nobody waits for this one."""
        client, changed = _client(url, timeout)
        return cls(client, gateway, timeout, changed)

    async def close(self) -> None:
        """Close every connection. The store is not used after it."""
        await self._client.aclose()

    async def add(self, failures: Mapping[str, int]) -> Mapping[str, int]:
        try:
            if self._changed():
                await reconnect(self._client)
            async with asyncio.timeout(self._timeout), self._client.pipeline(transaction=False) as pipe:
                for address, count in failures.items():
                    # The window begins with the first failure, whichever replica sees it.
                    pipe.set(self._prefix + address, b"0", nx=True, px=_WINDOW_MILLISECONDS)
                    pipe.incrby(self._prefix + address, count)
                    pipe.pttl(self._prefix + address)
                answers = [int(answer or 0) for answer in await pipe.execute()]
                # One that ended between the first two steps came back without an end, and would never be forgotten.
                endless = [address for address, left in zip(failures, answers[2::3], strict=True) if left < 0]
                for address in endless:
                    pipe.pexpire(self._prefix + address, _WINDOW_MILLISECONDS)
                if endless:
                    await pipe.execute()
        except LOST_STORE as error:
            raise FailureStoreError(type(error).__name__) from error
        return dict(zip(failures, answers[1::3], strict=True))


def _client(url: str, timeout: float) -> tuple[Client, Callable[[], bool]]:
    address = parse_store_url(url)
    return client_of(address, timeout), Changes(address.login.file)


def _outcome(answer: object) -> bool | NonceStoreError:
    return NonceStoreError(type(answer).__name__) if isinstance(answer, Exception) else answer is True
