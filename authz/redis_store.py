"""Nonces shared by the replicas of a gateway, in Valkey or Redis."""

import asyncio
from typing import Final, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from authz.decision import NonceClaim
from authz.nonces import NonceStoreError

# Well inside Envoy's ext_authz time-out, so that the client gets our answer and not Envoy's.
_TIMEOUT: Final = 0.1


class RedisNonceStore:
    """One key per nonce in the gateway's namespace, set only where it is absent, gone when its window has closed.

    Two gateways never share a nonce (C28): what central has seen, the gateway behind it sees for its first time.
    """

    def __init__(self, client: "Redis", gateway: str, timeout: float = _TIMEOUT) -> None:
        self._client = client
        self._prefix = f"apibank:authz:{gateway}:nonce:"
        self._timeout = timeout

    @classmethod
    def from_url(cls, url: str, gateway: str, timeout: float = _TIMEOUT) -> Self:
        """`redis://`, `rediss://` or `unix://` with user, password and database, as redis-py reads them."""
        # A nonce whose answer was lost may have been spent, so redis-py must not try again; the one time-out is ours.
        client = Redis.from_url(
            url, protocol=2, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=timeout
        )
        return cls(client, gateway, timeout)

    async def close(self) -> None:
        """Close every connection. The store is not used after it."""
        await self._client.aclose()

    async def spend(self, claim: NonceClaim) -> bool:
        key = f"{self._prefix}{claim.key_id}:{claim.nonce}"
        try:
            async with asyncio.timeout(self._timeout):
                return bool(await self._client.set(key, b"1", nx=True, px=claim.seconds * 1000))
        except (RedisError, OSError, TimeoutError) as error:
            raise NonceStoreError(type(error).__name__) from error
