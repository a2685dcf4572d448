"""A client for single commands on a store, wherever that is; decisions on limits have a connection of their own."""

from typing import Final, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from records.store_address import Kind, Login, StoreAddress, check_tls

Client: TypeAlias = Redis | RedisCluster

# What a command raises when its answer is not known.
LOST_STORE: Final = (RedisError, RedisClusterException, OSError, TimeoutError)

# A cluster's client follows slots that have moved by trying again.
_REDIRECTIONS: Final = 3


def client_of(address: StoreAddress, timeout: float) -> Client:
    """Nothing connects yet; nothing is sent twice, but in a cluster. `timeout`: seconds that connecting may take.

    Raises ValueError for a certificate that cannot be used.
    """
    if address.tls is not None:
        check_tls(address.tls)
    options = {**_connecting(address, timeout), **_login(address.login)}
    match address.kind:
        case Kind.SERVER:
            (node,) = address.nodes
            where = {"host": node.host, "port": node.port} if node.port else {"unix_socket_path": node.host}
            return Redis(**where, db=address.db, retry=Retry(NoBackoff(), 0), **options)  # type: ignore[arg-type]
        case Kind.SENTINEL:
            sentinels = Sentinel(  # type: ignore[no-untyped-call]
                [(node.host, node.port) for node in address.nodes],
                sentinel_kwargs={**_connecting(address, timeout), **_login(address.sentinel_login)},
            )
            master: Redis = sentinels.master_for(
                address.master,
                db=address.db,
                retry=Retry(NoBackoff(), 0),
                **options,  # type: ignore[arg-type]
            )
            return master
        case Kind.CLUSTER:
            nodes = [ClusterNode(node.host, node.port) for node in address.nodes]
            return RedisCluster(
                startup_nodes=nodes,
                retry=Retry(NoBackoff(), _REDIRECTIONS),
                **options,  # type: ignore[arg-type]
            )


async def reconnect(client: Client) -> None:
    """Make connections that are not in use anew, as when the password has changed."""
    if isinstance(client, RedisCluster):
        await client.aclose()
    else:
        await client.connection_pool.disconnect(inuse_connections=False)


def _connecting(address: StoreAddress, timeout: float) -> dict[str, object]:
    options: dict[str, object] = {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": timeout}
    if address.tls is not None:
        options |= {"ssl": True, "ssl_check_hostname": True}
        files = {
            "ssl_ca_certs": address.tls.ca_file,
            "ssl_certfile": address.tls.cert_file,
            "ssl_keyfile": address.tls.key_file,
        }
        options |= {name: str(file) for name, file in files.items() if file is not None}
    return options


def _login(login: Login) -> dict[str, object]:
    if login.file is not None:
        return {"credential_provider": login.file}
    return {"username": login.user or None, "password": login.password}
