"""`apibank up`: the whole federation on one machine, without containers.

Everything that takes time happens side by side, in stages: the store, then every Python process, then the Envoys.
It is up when every Envoy runs the configuration that the control plane has published for it.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from apibank.addresses import OVERLAY_NAME, address_overlay, secrets_directory
from apibank.certificates import ensure_certificates
from apibank.envoy_process import EnvoyNotFoundError
from apibank.output import ANSWER_NO, fail
from apibank.policies import PolicyFolder, UnknownProfileError, shipped
from apibank.ports import CENTRAL, PortsTakenError, claim_ports, plan_ports
from apibank.private_files import private_directory, write_private
from apibank.probes import answers_ping
from apibank.ready import READY_NAME, Ready, write_ready
from apibank.scraping import FILE_NAME, write_prometheus
from apibank.settings import Settings
from apibank.stack_plan import NotLiveError, StackPlan
from apibank.supervisor import Event, Happening, StartFailedError, Supervisor
from apibank.welcome import say_ready, say_starting
from policy.model import Gateway
from policy.problem import PolicyError

SECRET_BYTES: Final = 32
_LIVE_SECONDS: Final = 60.0


def run_stack(settings: Settings, *, only: Sequence[str] | None, ready_file: Path | None) -> int:
    """Run until SIGINT or SIGTERM; the exit code. Nothing is left running when it returns."""
    try:
        state_dir = private_directory(settings.state_dir).resolve()
    except OSError as error:
        fail(f"error: the state directory {settings.state_dir} cannot be made: {error.strerror}")
    settings = settings.model_copy(update={"state_dir": state_dir})
    started = time.monotonic()
    with _alone(state_dir):
        try:
            plan = _prepare(settings, only)
            with claim_ports(plan.ports):
                return asyncio.run(_run(plan, ready_file, started))
        except PolicyError as error:
            fail(f"{error}\n\nnothing was started", code=ANSWER_NO)
        except (PortsTakenError, EnvoyNotFoundError, UnknownProfileError, OSError, ValueError) as error:
            fail(f"error: {error}")
        except (StartFailedError, NotLiveError) as error:
            fail(f"error: {error}\nthe stack was stopped again; logs are in {state_dir / 'logs'}")


@contextlib.contextmanager
def _alone(state_dir: Path) -> Iterator[None]:
    """One stack per state directory: two would write each other's keys and databases."""
    with (state_dir / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"error: a stack is running in {state_dir}: stop it, or choose another --state-dir")
        try:
            yield
        finally:
            (state_dir / READY_NAME).unlink(missing_ok=True)


def _prepare(settings: Settings, only: Sequence[str] | None) -> StackPlan:
    """Everything that processes find when they start: keys, certificates, secrets, addresses."""
    policies = (settings.policies or shipped("gateways")).resolve()
    wanted = None if only is None else (CENTRAL, *(name for name in only if name != CENTRAL))
    # Where its listeners are is only known with the ports, so it is linted below.
    folder = PolicyFolder(policies, settings.profile, wanted, linted=False)
    gateways = _good(folder)
    missing = [name for name in wanted or (CENTRAL,) if name not in gateways]
    if missing:
        there = ", ".join(PolicyFolder(policies, ()).names()) or "none"
        raise ValueError(f"there is no policy for {', '.join(missing)} in {policies}; there are: {there}")
    ports = plan_ports(settings.port_base, tuple(gateways), settings.envoys)
    certificates = ensure_certificates(settings.state_dir, tuple(gateways), datetime.now(UTC))
    _ensure_secrets(settings.state_dir, gateways)
    _ensure_control_token(settings.token_file())
    overlay = private_directory(settings.state_dir / "profiles") / OVERLAY_NAME
    overlay.write_text(address_overlay(gateways, ports, certificates, settings.state_dir), encoding="utf-8")
    profiles = (*(str(path.resolve()) for path in folder.overlays), str(overlay))
    # What the processes will read is checked here once, so that a mistake stops the start and not six processes.
    effective = _good(PolicyFolder(policies, profiles, wanted))
    return StackPlan(
        settings=settings,
        policies=policies,
        profiles=profiles,
        ports=ports,
        certificates=certificates,
        gateways=effective,
    )


def _good(folder: PolicyFolder) -> Mapping[str, Gateway]:
    """Every gateway of the folder. Raises PolicyError with everything that is wrong in any of them."""
    policies = folder.load()
    if policies.errors:
        raise PolicyError(problem for error in policies.errors.values() for problem in error.problems)
    return {name: loaded.gateway for name, loaded in policies.gateways.items()}


def _ensure_secrets(state_dir: Path, gateways: Mapping[str, Gateway]) -> None:
    # Every agent of the federation has one: those of the domains, and the centres of excellence.
    directory = private_directory(secrets_directory(state_dir))
    agents = {name for gateway in gateways.values() if gateway.gateway != CENTRAL for name in gateway.routes}
    for agent in agents:
        path = directory / agent
        if not path.exists():
            write_private(path, secrets.token_urlsafe(SECRET_BYTES).encode() + b"\n")


def _ensure_control_token(path: Path) -> None:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(SECRET_BYTES).encode() + b"\n")


async def _run(plan: StackPlan, ready_file: Path | None, started: float) -> int:
    if plan.settings.store.startswith("redis://") and not await answers_ping(plan.settings.store):
        raise ValueError(f"the store {plan.settings.store} does not answer")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    files = [path for path in (plan.settings.state_dir / READY_NAME, ready_file) if path is not None]
    stack = _Stack(plan, files)
    stopping = asyncio.create_task(stop.wait())
    try:
        starting = asyncio.create_task(stack.start(started))
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await stopping
        else:
            starting.cancel()
            await asyncio.wait({starting})
        sys.stdout.write("\nstopping ...\n")
    finally:
        stopping.cancel()
        for path in files:
            path.unlink(missing_ok=True)
        await stack.stop()
    sys.stdout.write("everything is stopped\n")
    return 0


class _Stack:
    """The processes, and the files that say where they are."""

    def __init__(self, plan: StackPlan, ready_files: Sequence[Path]) -> None:
        self._plan = plan
        self._ready_files = ready_files
        self._up = False
        self._supervisor = Supervisor(plan.settings.state_dir / "logs", self._happened)

    async def start(self, started: float) -> None:
        """All stages, and then until every Envoy runs what was published for it."""
        say_starting(self._plan)
        for stage in self._plan.stages():
            await self._supervisor.start(*stage)
        await self._plan.until_live(_LIVE_SECONDS)
        self._up = True
        ready = self._write_ready()
        say_ready(self._plan, ready, time.monotonic() - started)

    async def stop(self) -> None:
        """Nothing runs when this returns."""
        self._up = False
        await self._supervisor.stop()

    def _happened(self, event: Event) -> None:
        if event.happening in {Happening.CRASHED, Happening.KILLED}:
            sys.stdout.write(f"{event.child} {event.happening}: {event.detail}\n")
        if self._up and event.happening is Happening.READY:
            sys.stdout.write(f"{event.child} is back (pid {event.pid})\n")
            self._write_ready()

    def _write_ready(self) -> Ready:
        ready = self._plan.ready(self._supervisor.pids() | {"up": os.getpid()})
        for path in self._ready_files:
            write_ready(ready, path)
        write_prometheus(ready, self._plan.settings.state_dir / FILE_NAME)
        return ready
