"""The issuer as the portal meets it: its own description, its keys, and codes for tokens."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import httpx2
import jwt

_SECONDS: Final = 5.0
# An issuer is described and names its keys anew after so long, and at once where a token names a key that is unknown.
_FRESH_SECONDS: Final = 300.0
_PAUSE_SECONDS: Final = 5.0


class ProviderAwayError(Exception):
    """The issuer does not answer, or not what its protocol says."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What the issuer says of itself (OpenID Connect Discovery §3)."""

    issuer: str
    authorize: str
    token: str
    jwks: str


@dataclass(frozen=True, slots=True)
class Client:
    """The portal as the issuer knows it. `secret` is read at each use, so that it can be replaced while this runs."""

    client_id: str
    secret: Callable[[], str]


class Provider:
    """An issuer at one address. Its answers are kept for a while."""

    def __init__(
        self,
        discovery: str,
        client: Client,
        http: httpx2.AsyncClient | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`discovery`: the address of its openid-configuration."""
        self._discovery = discovery
        self._client = client
        self._http = http or httpx2.AsyncClient(timeout=_SECONDS)
        self._clock = clock
        self._endpoints: tuple[float, Endpoints] | None = None
        self._keys: tuple[float, jwt.PyJWKSet] | None = None
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        await self._http.aclose()

    async def endpoints(self) -> Endpoints:
        """Raises ProviderAwayError."""
        if self._endpoints is None or self._clock() - self._endpoints[0] > _FRESH_SECONDS:
            told = await self._json("GET", self._discovery)
            match told:
                case {
                    "issuer": str(issuer),
                    "authorization_endpoint": str(authorize),
                    "token_endpoint": str(token),
                    "jwks_uri": str(jwks),
                }:
                    self._endpoints = (self._clock(), Endpoints(issuer, authorize, token, jwks))
                case _:
                    raise ProviderAwayError("the issuer's description is not complete")
        return self._endpoints[1]

    async def redeem(self, code: str, verifier: str, callback: str) -> Mapping[str, object]:
        """Tokens for a code (RFC 6749 §4.1.3, RFC 7636 §4.5). Raises ProviderAwayError, PermissionError if refused."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
        }
        auth = (self._client.client_id, self._client.secret())
        endpoint = (await self.endpoints()).token
        return await self._json("POST", endpoint, data=form, auth=auth)

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """A key of the issuer's; None where it has none of that name. Raises ProviderAwayError."""
        async with self._asking:
            age = None if self._keys is None else self._clock() - self._keys[0]
            known = None if self._keys is None else _named(self._keys[1], kid)
            if (known is None and (age is None or age > _PAUSE_SECONDS)) or (age or 0.0) > _FRESH_SECONDS:
                told = await self._json("GET", (await self.endpoints()).jwks)
                try:
                    self._keys = (self._clock(), jwt.PyJWKSet.from_dict(dict(told)))
                except jwt.PyJWKSetError as error:
                    raise ProviderAwayError("the issuer's keys cannot be read") from error
                known = _named(self._keys[1], kid)
            return known

    async def _json(
        self,
        method: str,
        address: str,
        *,
        data: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> Mapping[str, object]:
        try:
            answer = await self._http.request(method, address, data=data, auth=auth)
            told = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise ProviderAwayError(f"{address} does not answer: {type(error).__name__}") from error
        if 400 <= answer.status_code < 500:
            raise PermissionError(f"{address} answered {answer.status_code}")
        if answer.status_code != 200 or not isinstance(told, dict):
            raise ProviderAwayError(f"{address} answered {answer.status_code}")
        return told


def _named(keys: jwt.PyJWKSet, kid: str) -> jwt.PyJWK | None:
    return next((one for one in keys.keys if one.key_id == kid), None)
