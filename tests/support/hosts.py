"""Hosts that share nothing but cables: Linux network namespaces with addresses of their own, joined by bridges.

The kernel keeps them apart as it would keep machines apart: each has its own interfaces, routes, ports and loopback.
Names hold this process's id, so that several runs do not meet, and nothing of it is in the machine's own namespace.
"""

import contextlib
import ctypes
import ipaddress
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_NAMESPACES = Path("/run/netns")
_SWITCH = "switch"
# Before the kernel's own table of local addresses, so that a rule can keep packets from those too.
_BEFORE_LOCAL = "10"


def why_not() -> str | None:
    """Why this machine can make no namespaces; None where it can."""
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: apt install iproute2)"
    name = f"ab{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


@dataclass(frozen=True, slots=True)
class Plug:
    """A host's place in a network."""

    host: str
    network: str
    address: str

    @property
    def port(self) -> str:
        """The switch's end of the cable; an interface's name has 15 characters at most."""
        return f"{self.network}-{self.address.rpartition('.')[2]}"


class Hosts:
    """Hosts and the networks that they are plugged into: `plan` is the address by network, by host."""

    def __init__(self, plan: Mapping[str, Mapping[str, str]]) -> None:
        self._plugs = {
            (host, network): Plug(host, network, address)
            for host, places in plan.items()
            for network, address in places.items()
        }
        self._names = (_SWITCH, *plan)

    def address(self, host: str, network: str) -> str:
        return self._plugs[host, network].address

    def namespace(self, host: str) -> str:
        return f"ab{os.getpid()}-{host}"

    def __enter__(self) -> "Hosts":
        try:
            for name in self._names:
                _ip("netns", "add", self.namespace(name))
            self._lay_out()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Whatever is there of it; cables and bridges go with their namespaces."""
        for name in self._names:
            if (_NAMESPACES / self.namespace(name)).exists():
                _ip("netns", "del", self.namespace(name))

    def _lay_out(self) -> None:
        networks = sorted({network for _, network in self._plugs})
        switch = [f"link add {network} type bridge stp_state 0 forward_delay 0" for network in networks]
        switch += [f"link set {network} up" for network in networks]
        for plug in self._plugs.values():
            switch.append(f"link add {plug.port} type veth peer name {plug.network} netns {self.namespace(plug.host)}")
            switch += [f"link set {plug.port} master {plug.network}", f"link set {plug.port} up"]
        self._batch(_SWITCH, switch)
        for host in self._names[1:]:
            lines = ["link set lo up", "rule add pref 100 lookup local", "rule del pref 0"]
            for plug in self._plugs.values():
                if plug.host == host:
                    lines += [f"addr add {plug.address}/24 dev {plug.network}", f"link set {plug.network} up"]
            self._batch(host, lines)

    def _batch(self, host: str, lines: Sequence[str]) -> None:
        subprocess.run(
            ["ip", "-n", self.namespace(host), "-batch", "-"], input="\n".join(lines), text=True, check=True, timeout=60
        )

    def route(self, host: str, to: str, via: str) -> None:
        """Send what is for a network to a neighbour."""
        ipaddress.ip_network(to)
        self._batch(host, [f"route replace {to} via {via}"])

    def drop(
        self, host: str, network: str, *, source: str = "all", to: str = "all"
    ) -> contextlib.AbstractContextManager[None]:
        """A firewall's rule on a host: what comes in from a network, from or to these addresses, is dropped."""
        rule = f"pref {_BEFORE_LOCAL} iif {network} from {source} to {to} blackhole"
        return self._while(host, f"rule add {rule}", f"rule del {rule}")

    def unplugged(self, host: str, network: str) -> contextlib.AbstractContextManager[None]:
        """A partition: frames between this host and that network are lost, and nobody is told."""
        plug = self._plugs[host, network]
        return self._while(_SWITCH, f"link set {plug.port} nomaster", f"link set {plug.port} master {network}")

    @contextlib.contextmanager
    def _while(self, host: str, begin: str, end: str) -> Iterator[None]:
        self._batch(host, [begin])
        try:
            yield
        finally:
            self._batch(host, [end])

    @contextlib.contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Within, this thread is on that host: sockets that it makes, and processes that it starts."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(_NAMESPACES / self.namespace(host), os.O_RDONLY)
        try:
            _enter(there)
            yield
        finally:
            _enter(here)
            os.close(there)
            os.close(here)


def _enter(namespace: int) -> None:
    # os.setns is there from Python 3.12 on.
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=60)
