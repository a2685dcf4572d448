"""What the platform orders agents by, and how they say that it is done: messages on the bus.

A command's sender is a queue of the platform's, `platform.HOST`; no agent can have a name with a dot, so no agent can
give an order. The reply goes to that queue, and names the command that it answers.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from messaging.bus import Message

RESTART: Final = "agent.restart"
RESTARTED: Final = "agent.restarted"
PLATFORM: Final = "platform."


class Order(BaseModel):
    """`until`: seconds since the epoch; nobody waits for what is done later."""

    model_config = ConfigDict(frozen=True)

    until: float


class Reply(BaseModel):
    """`command`: the id of the message that was obeyed."""

    model_config = ConfigDict(frozen=True)

    command: str


def restart(agent: str, command: str, sender: str, until: float, request_id: str) -> Message:
    """The order to an agent. `sender`: the queue where the reply is awaited."""
    return Message(command, RESTART, sender, agent, to_json(Order(until=until)), request_id)


def restarted(command: Message) -> Message:
    """The reply of an agent that is there again."""
    reply = to_json(Reply(command=command.id))
    return Message(f"{command.id}.reply", RESTARTED, command.recipient, command.sender, reply, command.request_id)


def is_command(message: Message) -> bool:
    """Whether it comes from the platform, and not from another agent."""
    return message.sender.startswith(PLATFORM)


def still_wanted(command: Message, now: float) -> bool:
    """Whether somebody waits for the reply."""
    try:
        return now < Order.model_validate_json(command.payload).until
    except ValidationError:
        return False


def answered(reply: Message) -> str | None:
    """The command that a reply answers; None where it is none."""
    if reply.type != RESTARTED:
        return None
    try:
        return Reply.model_validate_json(reply.payload).command
    except ValidationError:
        return None
