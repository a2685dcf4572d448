"""Nonces shared by the replicas of a gateway, in Valkey or Redis."""

import asyncio
from collections.abc import Sequence
from typing import Final, Self

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from authz.decision import NonceClaim
from authz.nonces import NonceStoreError, one_of

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
        """Whether the nonce was unspent; it is spent afterwards. Raises NonceStoreError."""
        return one_of(await self.spend_many((claim,)))

    async def spend_many(self, claims: Sequence[NonceClaim]) -> Sequence[bool | NonceStoreError]:
        try:
            async with asyncio.timeout(self._timeout), self._client.pipeline(transaction=False) as pipe:
                for claim in claims:
                    key = f"{self._prefix}{claim.key_id}:{claim.nonce}"
                    pipe.set(key, b"1", nx=True, px=claim.seconds * 1000)
                answers = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            # Which of them were spent is not known, so none of them is taken for unspent.
            return [NonceStoreError(type(error).__name__)] * len(claims)
        return [_outcome(answer) for answer in answers]


def _outcome(answer: object) -> bool | NonceStoreError:
    return NonceStoreError(type(answer).__name__) if isinstance(answer, Exception) else answer is True
