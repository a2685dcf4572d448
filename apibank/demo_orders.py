"""What demo services do with a request that was accepted: they hand it to orchestration, by the bus (R44)."""

import hashlib
from typing import Final

import orjson

from messaging.bus import Bus, Message

# An agent that every federation with an agents gateway has.
ORCHESTRATION: Final = "orchestration"
ACCEPTED: Final = "request.accepted"
# No agent has a dot in its name.
_SENDER: Final = ".service"
_MOST_OCTETS: Final = 524_288


class Orders:
    """Requests of the services, as messages to orchestration."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def accept(self, service: str, path: str, body: bytes, request_id: str) -> None:
        """Raises BusError where it is not on its queue. The same request again, as of an Envoy that tries twice, is one
        message."""
        payload = orjson.dumps({"service": service, "path": path, "body": _said(body)})
        digest = hashlib.blake2b(payload, digest_size=8).hexdigest()
        message = Message(
            f"{request_id}:{digest}", ACCEPTED, service + _SENDER, ORCHESTRATION, payload, request_id[:128]
        )
        await self._bus.publish(message)


def _said(body: bytes) -> object:
    """The body, where it is JSON of fair size; the gateway has seen to that wherever there is a schema."""
    if len(body) > _MOST_OCTETS:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
