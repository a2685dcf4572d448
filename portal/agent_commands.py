"""What the platform orders agents by, and how they say that it is done: messages on the bus.

An agent has a queue for them beside that of its messages, so that one with much to do hears them at once. No agent can
write to it: messages of agents go to names without a dot. The reply goes to a queue of the platform's, and names the
command that it answers.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_json

from messaging.bus import Message

RESTART: Final = "agent.restart"
RESTARTED: Final = "agent.restarted"
# Ahead of the name of the process that waits for replies.
PLATFORM: Final = "platform."
_CONTROL: Final = ".control"


class Order(BaseModel):
    """`until`: seconds since the epoch; nobody waits for what is done later."""

    model_config = ConfigDict(frozen=True)

    until: float


class Reply(BaseModel):
    """`command`: the id of the message that was obeyed."""

    model_config = ConfigDict(frozen=True)

    command: str


def control_queue(agent: str) -> str:
    """Where an agent finds its orders."""
    return agent + _CONTROL


def restart(agent: str, command: str, sender: str, until: float, request_id: str) -> Message:
    """The order to an agent. `sender`: the queue where the reply is awaited."""
    return Message(command, RESTART, sender, control_queue(agent), to_json(Order(until=until)), request_id)


def restarted(agent: str, command: Message) -> Message:
    """The reply of an agent that is there again."""
    reply = to_json(Reply(command=command.id))
    return Message(f"{command.id}.reply", RESTARTED, agent, command.sender, reply, command.request_id)


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
