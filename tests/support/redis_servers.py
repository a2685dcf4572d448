"""Real Redis and Valkey processes on free ports: alone, watched by Sentinels, or as a cluster."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from apibank.ports import is_free
from apibank.valkey_process import find_valkey

HOST = "127.0.0.1"
REDIS = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(
    REDIS is None, reason="redis-server is not installed (Debian: apt install redis-server)"
)


def free_port() -> int:
    """Below the range from which the kernel takes ports for outgoing connections."""
    while True:
        port = random.randrange(11_000, 20_000)
        # A cluster's nodes speak to each other ten thousand above.
        if is_free(port) and is_free(port + 10_000):
            return port


def until(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


@dataclass
class Server:
    """A server at a port of this machine. `login`: how tests reach it themselves."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    binary: str = field(default_factory=lambda: str(find_valkey()))
    login: Mapping[str, object] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Server":
        command = (
            (self.binary, *self.options) if self._plain else (self.binary, "--port", str(self.port), *self.options)
        )
        with (self.folder / f"{self.port}.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        until(self.answers, f"an answer at port {self.port}")
        return self

    @property
    def _plain(self) -> bool:
        return "--port" in self.options or any(option.endswith(".conf") for option in self.options)

    def answers(self) -> bool:
        with self.client() as client:
            return bool(client.ping())

    def client(self, **more: object) -> redis.Redis:
        arguments = {
            "host": HOST,
            "port": self.port,
            "decode_responses": True,
            "socket_timeout": 5,
            **self.login,
            **more,
        }
        return redis.Redis(**arguments)  # type: ignore[arg-type]

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            os.kill(self.process.pid, number)

    @contextmanager
    def paused(self) -> Iterator[None]:
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def stop(self, number: int = signal.SIGKILL) -> None:
        self.send(number)
        if self.process is not None:
            self.process.wait(10)
            self.process = None


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rd-") as path:
        yield Path(path)


@contextmanager
def one_server(*options: str, binary: str | None = None, **login: object) -> Iterator[Server]:
    """A server without persistence, unless its options say otherwise."""
    with folder() as path:
        server = Server(path, options=("--save", "", "--bind", HOST, *options), login=login)
        if binary is not None:
            server.binary = binary
        try:
            yield server.start()
        finally:
            server.stop()


@dataclass
class Watched:
    """A master, a replica, and three Sentinels that watch them as `counters`."""

    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'{HOST}:{each.port}' for each in self.sentinels)}/0?master=counters"

    def named(self) -> int:
        """The port of the master that the Sentinels name."""
        with self.sentinels[0].client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "counters")[1])

    @property
    def master(self) -> Server:
        port = self.named()
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Ask for a fail-over, and wait until it is done."""
        before = self.named()
        with self.sentinels[0].client() as client:
            client.execute_command("SENTINEL", "FAILOVER", "counters")
        until(lambda: self.named() != before, "another master")


@contextmanager
def watched(binary: str | None = None) -> Iterator[Watched]:
    program = binary or str(find_valkey())
    with folder() as path, contextlib.ExitStack() as held:
        options = ("--save", "", "--bind", HOST, "--dbfilename")
        master = Server(path, options=(*options, "master.rdb"), binary=program)
        copy = (*options, "copy.rdb", "--replicaof", HOST, str(master.port))
        servers = [master, Server(path, options=copy, binary=program)]
        for server in servers:
            held.callback(server.stop)
            server.start()
        with servers[1].client() as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "a replica in step")
        sentinels = [_sentinel(path, master.port, program) for _ in range(3)]
        for sentinel in sentinels:
            held.callback(sentinel.stop)
            sentinel.start()
        found = Watched(servers, sentinels)
        for sentinel in sentinels:
            until(lambda one=sentinel: _knows_all(one), "Sentinels that know each other")  # type: ignore[misc]
        yield found


def _sentinel(path: Path, master: int, binary: str) -> Server:
    port = free_port()
    file = path / f"sentinel-{port}.conf"
    file.write_text(
        f"port {port}\nbind {HOST}\ndir {path}\n"
        f"sentinel monitor counters {HOST} {master} 2\n"
        "sentinel down-after-milliseconds counters 1000\n"
        "sentinel failover-timeout counters 5000\n",
        encoding="utf-8",
    )
    return Server(path, port, (str(file), "--sentinel"), binary)


def _knows_all(sentinel: Server) -> bool:
    with sentinel.client() as client:
        state = client.execute_command("SENTINEL", "MASTER", "counters")
    if not isinstance(state, dict):
        state = dict(zip(state[::2], state[1::2], strict=True))
    return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1


@dataclass
class Cluster:
    """Three masters with a third of the slots each; the first has a replica."""

    masters: list[Server]
    replica: Server

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'{HOST}:{each.port}' for each in self.masters)}"

    def node_id(self, server: Server) -> str:
        with server.client() as client:
            return str(client.execute_command("CLUSTER", "MYID"))

    def flush(self) -> None:
        for server in (*self.masters, self.replica):
            with server.client() as client, contextlib.suppress(redis.RedisError):
                client.flushall()


@contextmanager
def cluster(binary: str | None = None) -> Iterator[Cluster]:
    with contextlib.ExitStack() as held:
        nodes = []
        for _ in range(4):
            options = ("--save", "", "--bind", HOST, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
            nodes.append(Server(held.enter_context(folder()), options=options, binary=binary or str(find_valkey())))
            held.callback(nodes[-1].stop)
            nodes[-1].start()
        *masters, replica = nodes
        for index, (server, (first, last)) in enumerate(zip(masters, _THIRDS, strict=True)):
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for server in nodes[1:]:
            with nodes[0].client() as client:
                client.execute_command("CLUSTER", "MEET", HOST, server.port)
        found = Cluster(masters, replica)
        with replica.client() as client:
            until(lambda: _size(client) == 4, "nodes that know each other")
            followed = found.node_id(masters[0])
            # A node that is only just met is counted, and not known by its name yet.
            until(lambda: bool(client.execute_command("CLUSTER", "REPLICATE", followed)), "a replica")
            until(lambda: client.info("replication")["master_link_status"] == "up", "a replica in step")
        for server in nodes:
            with server.client() as client:
                until(lambda one=client: _is_ok(one), "a cluster that is up")  # type: ignore[misc]
        yield found


_THIRDS = ((0, 5460), (5461, 10922), (10923, 16383))


def _size(client: redis.Redis) -> int:
    return int(_info(client)["cluster_known_nodes"])


def _is_ok(client: redis.Redis) -> bool:
    return _info(client)["cluster_state"] == "ok"


def _info(client: redis.Redis) -> Mapping[str, str]:
    text = client.execute_command("CLUSTER", "INFO")
    if isinstance(text, dict):
        return text
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)
