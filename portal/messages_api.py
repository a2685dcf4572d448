"""Where agents hand over messages, behind their gateway: onto the bus, and are told that they are taken (R44, R62).

The gateway has verified who signed the message and that it is one; it is looked at again here all the same, as the bus
believes whoever puts something on it.
"""

import re
import uuid
from collections.abc import Callable, Container
from typing import Annotated, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import to_json

from messaging.bus import Bus, BusAwayError, IdConflictError, Message, QueueFullError
from portal.problems import Refused
from portal.refusals import REQUEST_ID_HEADER

SIGNER_HEADER: Final = "x-waooaw-agent"
# Agents have no dot in their names: those of the platform's own parts have one.
_NAME: Final = r"^[a-z][a-z0-9_-]{0,62}$"
_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_MOST_OCTETS: Final = 1_048_576

# Who may be written to, as the policies say at the moment.
Recipients = Callable[[], Container[str]]


class SentMessage(BaseModel):
    """A message as an agent sends it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]
    type: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
    sender: Annotated[str, Field(pattern=_NAME)]
    recipient: Annotated[str, Field(pattern=_NAME)]
    payload: dict[str, JsonValue]


def message_routes(bus: Bus, recipients: Recipients) -> APIRouter:
    """The routes, with full paths: no gateway strips a prefix (R16)."""
    router = APIRouter(prefix="/api/agents", tags=["agents"])

    @router.post("/{place:path}", summary="Send a message")
    async def send(place: str, request: Request) -> JSONResponse:
        """Puts the message on its recipient's queue. The same one again is answered the same, and queued once."""
        sent = _read(await _body(request))
        # Of the gateway, which verified it; what the body says can only agree with it.
        signer = request.headers.get(SIGNER_HEADER, "")
        if not signer or sent.sender != signer:
            raise Refused(403, "sender_mismatch", "The sender of a message is the agent that signed it.")
        if sent.recipient not in recipients():
            raise Refused(404, "recipient_unknown", f"There is no agent {sent.recipient}.")
        request_id = request.headers.get(REQUEST_ID_HEADER) or str(uuid.uuid4())
        traceparent = request.headers.get("traceparent", "")
        message = Message(
            id=sent.id,
            type=sent.type,
            sender=signer,
            recipient=sent.recipient,
            payload=to_json(sent.payload),
            request_id=request_id[:128],
            traceparent=traceparent if _TRACEPARENT.fullmatch(traceparent) else "",
        )
        await put(bus, message)
        return JSONResponse({"status": "processing", "request_id": request_id})

    @router.get("/{place:path}", summary="How many messages wait")
    async def waiting(place: str) -> dict[str, object]:
        """Of the agent that the path names: messages that wait, that are being done, and that nobody could do."""
        name = place.partition("/")[0]
        if name not in recipients():
            raise Refused(404, "not_found", "There is no such agent.")
        try:
            depth = await bus.depth(name)
        except BusAwayError as error:
            raise _away() from error
        return {"agent": name, "waiting": depth.waiting, "taken": depth.taken, "dead": depth.dead}

    return router


async def put(bus: Bus, message: Message) -> None:
    """Put it on the bus. Raises Refused with what whoever sent it is to be told."""
    try:
        await bus.publish(message)
    except IdConflictError:
        detail = f"Another message of yours has the id {message.id}: give each its own."
        raise Refused(409, "message_conflict", detail) from None
    except QueueFullError:
        detail = f"The queue of {message.recipient} is full. Send it again, with the same id, after a moment."
        raise Refused(503, "queue_full", detail) from None
    except BusAwayError as error:
        raise _away() from error
    except ValueError as error:
        raise Refused(400, "message_invalid", str(error)) from None


def _away() -> Refused:
    return Refused(503, "bus_away", "Messages cannot be taken at the moment. Send it again, with the same id.")


def _read(body: bytes) -> SentMessage:
    try:
        return SentMessage.model_validate_json(body)
    except ValidationError as error:
        errors = [
            {"pointer": "/".join(("", *map(str, one["loc"]))), "rule": one["msg"]}
            for one in error.errors(include_url=False, include_context=False, include_input=False)[:10]
        ]
        raise Refused(400, "message_invalid", "The body is no message.", errors) from None


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_OCTETS:
            raise Refused(413, "body_too_large", f"A message has at most {_MOST_OCTETS} bytes.")
    return body
