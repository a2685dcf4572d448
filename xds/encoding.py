"""Responses as bytes, each content encoded once for all the streams that it goes to.

Responses to different streams differ in their nonce alone. In protobuf the fields of a message may stand in any order,
so that the nonce can be put behind what is shared.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from xds.protocol.messages import Response
from xds.snapshot import Resource

# The key of field 5, `nonce` of both DiscoveryResponse and DeltaDiscoveryResponse, length-delimited.
_NONCE: Final = b"\x2a"
# What a cached entry costs beside its bytes, roughly.
_ENTRY_BYTES: Final = 512
# Seldom shared, and small.
_LEAST_BYTES: Final = 256

_Key = tuple[str, str, tuple[int, ...], tuple[str, ...], tuple[str, ...], bool, bool, bool]


class SharedEncoding:
    """Call it with a response. `write` is `wire.write_sotw` or `wire.write_delta`.

    Keeps the last used encodings, `capacity` bytes at most.
    """

    def __init__(self, write: Callable[[Response, str], bytes], identifier: str, capacity: int = 16 * 2**20) -> None:
        self._write = write
        self._identifier = identifier
        self._capacity = capacity
        self._used = 0
        # The resources are kept along, so that no other ones can take their identities.
        self._encoded: OrderedDict[_Key, tuple[bytes, tuple[Resource, ...]]] = OrderedDict()

    def __call__(self, response: Response) -> bytes:
        nonce = response.nonce.encode()
        if not nonce or len(nonce) > 127:
            return self._write(response, self._identifier)
        return self._shared(response) + _NONCE + bytes((len(nonce),)) + nonce

    def _shared(self, response: Response) -> bytes:
        key = _key(response)
        if (known := self._encoded.get(key)) is not None:
            self._encoded.move_to_end(key)
            return known[0]
        encoded = self._write(replace(response, nonce=""), self._identifier)
        if _LEAST_BYTES <= len(encoded) <= self._capacity // 2:
            self._encoded[key] = encoded, response.resources
            self._used += len(encoded) + _ENTRY_BYTES
            while self._used > self._capacity:
                _, (oldest, _) = self._encoded.popitem(last=False)
                self._used -= len(oldest) + _ENTRY_BYTES
        return encoded


def _key(response: Response) -> _Key:
    return (
        response.type_url,
        response.version,
        tuple(map(id, response.resources)),
        response.removed,
        response.unresolved,
        response.heartbeat,
        response.bare,
        response.wrapped,
    )
