"""Connections to a store, wherever it is by now: one server, the master that Sentinels name, a node of a cluster."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

from records.store_address import Kind, Login, Node, StoreAddress, Tls


class Place(Protocol):
    """Where a store's commands go."""

    async def connect(self) -> AbstractConnection:
        """A new connection, to the server that counts now. Raises RedisError or OSError."""

    async def connect_to(self, node: Node) -> AbstractConnection:
        """A new connection to a node that this server named. Raises RedisError or OSError."""

    def moved(self, node: Node) -> None:
        """The server said that what it was asked for is there from now on."""

    def silent(self) -> None:
        """No answer came: it may be elsewhere by now."""


class Links:
    """Connections to the servers of a store: nothing is sent twice, and nothing waits longer than `timeout`."""

    def __init__(self, address: StoreAddress, timeout: float) -> None:
        self.address, self._timeout = address, timeout

    async def open(self, node: Node) -> AbstractConnection:
        return await self._open(node, self.address.login, self.address.db)

    async def open_sentinel(self, node: Node) -> AbstractConnection:
        return await self._open(node, self.address.sentinel_login, 0)

    async def _open(self, node: Node, login: Login, db: int) -> AbstractConnection:
        connection = _connection(node, login, db, self.address.tls, self._timeout)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection


def _connection(node: Node, login: Login, db: int, tls: Tls | None, timeout: float) -> AbstractConnection:
    # Neither SETINFO nor the notifications that redis-py would ask for are worth a round trip before a decision.
    common: dict[str, object] = {
        "db": db,
        "protocol": 2,
        "socket_timeout": None,
        "socket_connect_timeout": timeout,
        "driver_info": None,
        "credential_provider": login.file,
        "username": None if login.file is not None else login.user or None,
        "password": None if login.file is not None else login.password,
    }
    if not node.port:
        return UnixDomainSocketConnection(path=node.host, **common)
    if tls is None:
        return Connection(host=node.host, port=node.port, socket_keepalive=True, **common)  # type: ignore[arg-type]
    # A context of its own for each, so that certificates that were renewed are used by the next connection.
    return SSLConnection(
        host=node.host,
        port=node.port,
        socket_keepalive=True,
        ssl_ca_certs=_text(tls.ca_file),
        ssl_certfile=_text(tls.cert_file),
        ssl_keyfile=_text(tls.key_file),
        ssl_check_hostname=True,
        **common,  # type: ignore[arg-type]
    )


def _text(path: object) -> str | None:
    return None if path is None else str(path)


async def ask(connection: AbstractConnection, *words: str) -> object:
    """One command's answer. Raises RedisError or OSError."""
    await connection.send_packed_command(connection.pack_command(*words), check_health=False)
    answer: object = await connection.read_response()
    return answer


_FoundT = TypeVar("_FoundT", AbstractConnection, Node)


async def first_of(attempts: Sequence[Callable[[], Awaitable[_FoundT]]]) -> _FoundT:
    """What the first that succeeds has found; the last one's error if none does. The others are given up."""
    tasks = [asyncio.ensure_future(attempt()) for attempt in attempts]
    winner: _FoundT | None = None
    failure: Exception = Disconnected("there is nobody to ask")
    try:
        for finished in asyncio.as_completed(tasks):
            try:
                winner = await finished
            except (RedisError, OSError) as error:
                failure = error
            else:
                return winner
        raise failure
    finally:
        for task in tasks:
            task.cancel()
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(found, AbstractConnection) and found is not winner:
                await found.disconnect(nowait=True)


class OneServer:
    """A place that never moves."""

    def __init__(self, links: Links) -> None:
        self._links = links
        (self._node,) = links.address.nodes

    def __str__(self) -> str:
        return str(self._links.address)

    async def connect(self) -> AbstractConnection:
        return await self._links.open(self._node)

    async def connect_to(self, node: Node) -> AbstractConnection:
        raise Disconnected("the server belongs to a cluster: its URL is redis+cluster://")

    def moved(self, node: Node) -> None:
        """See connect_to."""

    def silent(self) -> None:
        """There is no other."""


class Master:
    """The master that Sentinels name. All are asked at once, and whom one names is asked whether it is a master."""

    def __init__(self, links: Links) -> None:
        self._links = links

    def __str__(self) -> str:
        return str(self._links.address)

    async def connect(self) -> AbstractConnection:
        return await first_of([self._by(sentinel) for sentinel in self._links.address.nodes])

    async def connect_to(self, node: Node) -> AbstractConnection:
        raise Disconnected("the master belongs to a cluster: its URL is redis+cluster://")

    def moved(self, node: Node) -> None:
        """See connect_to."""

    def silent(self) -> None:
        """Sentinels are asked for each connection."""

    def _by(self, sentinel: Node) -> Callable[[], Awaitable[AbstractConnection]]:
        async def connect() -> AbstractConnection:
            master = self._links.address.master
            link = await self._links.open_sentinel(sentinel)
            try:
                found = await ask(link, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
            finally:
                await link.disconnect(nowait=True)
            if not isinstance(found, list) or len(found) != 2:
                raise Disconnected(f"the Sentinel at {sentinel} knows no master {master!r}")
            connection = await self._links.open(Node(_decoded(found[0]), int(found[1])))
            try:
                role = await ask(connection, "ROLE")
                # A Sentinel that was cut off may still name the master of before.
                if not isinstance(role, list) or _decoded(role[0]) != "master":
                    raise Disconnected(f"the Sentinel at {sentinel} names a server that is no master")
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            return connection

        return connect


class SlotOwner:
    """The node of a cluster that has one slot."""

    def __init__(self, links: Links, slot: int) -> None:
        self._links, self._slot = links, slot
        self._owner: Node | None = None

    def __str__(self) -> str:
        return f"{self._links.address}, slot {self._slot}"

    async def connect(self) -> AbstractConnection:
        if self._owner is not None:
            owner, self._owner = self._owner, None
            connection = await self._links.open(owner)
            self._owner = owner
            return connection
        nodes = list(self._links.address.nodes)
        random.shuffle(nodes)
        owner = await first_of([self._asked(node) for node in nodes])
        connection = await self._links.open(owner)
        self._owner = owner
        return connection

    async def connect_to(self, node: Node) -> AbstractConnection:
        return await self._links.open(node)

    def moved(self, node: Node) -> None:
        self._owner = node

    def silent(self) -> None:
        self._owner = None

    def _asked(self, node: Node) -> Callable[[], Awaitable[Node]]:
        async def owner() -> Node:
            link = await self._links.open(node)
            try:
                ranges = await ask(link, "CLUSTER", "SLOTS")
            finally:
                await link.disconnect(nowait=True)
            for first, last, master, *_ in ranges if isinstance(ranges, list) else ():
                if first <= self._slot <= last:
                    # An empty host, or none: the one that was asked.
                    return Node(_decoded(master[0] or b"") or node.host, int(master[1]))
            raise Disconnected(f"the cluster has nobody for slot {self._slot}")

        return owner


def place_of(address: StoreAddress, timeout: float, slot: int = 0) -> OneServer | Master | SlotOwner:
    """Where the commands for a slot go; only a cluster has more than one place."""
    links = Links(address, timeout)
    match address.kind:
        case Kind.SERVER:
            return OneServer(links)
        case Kind.SENTINEL:
            return Master(links)
        case Kind.CLUSTER:
            return SlotOwner(links, slot)


def _decoded(text: object) -> str:
    return text.decode() if isinstance(text, bytes) else str(text)
