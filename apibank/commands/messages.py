"""`apibank messages`: what waits for which agent, and what none could do."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from apibank.commands.options import Output, Policies, Profile, StateDir, Store, settings_of
from apibank.commands.policies import open_folder
from apibank.commands.serve_agents import BusOption
from apibank.output import ANSWER_NO, OutputFormat, fail, print_rows, print_said

if TYPE_CHECKING:
    from messaging.bus import Bus

T = TypeVar("T")
app = typer.Typer(help="Look at the queues of agents.", no_args_is_help=True, rich_markup_mode=None)

Agent = Annotated[str, typer.Argument(help="The agent, such as vision.")]
Position = Annotated[str, typer.Argument(help="The dead letter, as `messages dead` names it.")]
_QUEUES = ("agent", "consumers", "waiting", "taken", "dead", "dropped")
_LETTERS = ("position", "id", "type", "sender", "attempts", "reason")


@app.command("list")
def list_(
    output: Output = OutputFormat.TABLE,
    bus: BusOption = None,
    store: Store = None,
    policies: Policies = None,
    profile: Profile = None,
    state_dir: StateDir = None,
) -> None:
    """Show how many messages wait for each agent, are being done, and could not be done.

    Example: apibank messages list
    """
    from apibank.agent_names import agents_of
    from apibank.message_desk import queues

    folder = open_folder(settings_of(policies=policies, profile=profile), linted=False)
    gateways = {name: loaded.gateway for name, loaded in folder.load().gateways.items()}
    names = sorted(agents_of(gateways))
    rows = _asked(bus, store, state_dir, lambda opened: queues(opened, names))
    print_rows(rows, _QUEUES, output, empty="no agents")


@app.command("dead")
def dead(
    agent: Agent,
    count: Annotated[int, typer.Option("--count", min=1, max=1000, help="How many of them at most.")] = 100,
    output: Output = OutputFormat.TABLE,
    bus: BusOption = None,
    store: Store = None,
    state_dir: StateDir = None,
) -> None:
    """Show the messages that an agent could not do, the oldest first; JSON and YAML have their payloads.

    Example: apibank messages dead vision
    """
    from apibank.message_desk import letters

    rows = _asked(bus, store, state_dir, lambda opened: letters(opened, agent, count))
    print_rows(rows, _LETTERS, output, empty="no dead letters")


@app.command("revive")
def revive(
    agent: Agent,
    position: Position,
    output: Output = OutputFormat.TABLE,
    bus: BusOption = None,
    store: Store = None,
    state_dir: StateDir = None,
) -> None:
    """Put a dead letter at the end of its queue, as if it had never been tried. Exit code 1: there is none.

    Example: apibank messages revive vision 1795452369222-0
    """
    found = _asked(bus, store, state_dir, lambda opened: opened.revive(agent, position))
    _say(agent, position, found, "waits again", output)


@app.command("discard")
def discard(
    agent: Agent,
    position: Position,
    output: Output = OutputFormat.TABLE,
    bus: BusOption = None,
    store: Store = None,
    state_dir: StateDir = None,
) -> None:
    """Forget a dead letter. Exit code 1: there is none.

    Example: apibank messages discard vision 1795452369222-0
    """
    found = _asked(bus, store, state_dir, lambda opened: opened.discard(agent, position))
    _say(agent, position, found, "is forgotten", output)


def _say(agent: str, position: str, found: bool, said: str, output: OutputFormat) -> None:
    if not found:
        fail(f"error: {agent} has no dead letter {position}", code=ANSWER_NO)
    print_said({"agent": agent, "position": position, "done": said}, f"{position} of {agent} {said}", output)


def _asked(bus: str | None, store: str | None, state_dir: Path | None, work: "Callable[[Bus], Awaitable[T]]") -> T:
    from apibank.message_desk import MessageDeskError, with_bus
    from apibank.ready import StackNotRunningError, read_ready

    settings = settings_of(bus=bus, store=store, state_dir=state_dir)
    try:
        where = settings.bus_url()
        # The embedded stack's own is where the stack says that it is.
        return with_bus(read_ready(settings.state_dir).bus if where == "valkey" else where, work)
    except (MessageDeskError, StackNotRunningError) as error:
        fail(f"error: {error}")
