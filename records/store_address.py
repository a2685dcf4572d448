"""Where a store is and how one gets in: `redis://` and its kin, taken apart and checked before anything connects.

| URL | what is there |
|---|---|
| `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` | one server; `rediss://` by TLS |
| `unix:///PATH[?db=N]` | one server's socket |
| `redis+sentinel://HOST:PORT,HOST:PORT[/DB]?master=NAME` | whichever server these Sentinels call the master |
| `redis+cluster://HOST:PORT,HOST:PORT` | a cluster that any of these nodes belongs to |

Secrets and certificates come by files: `password_file`, `ca_file`, `cert_file`, `key_file`, `sentinel_password_file`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from records.password_file import PasswordFile


class Kind(StrEnum):
    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Node:
    """A host and its port, or the path of a socket with port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if not self.port:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Tls:
    """The authority that servers are verified by (None: the system's), and the certificate that is shown to them."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A user, or the default one where it is empty, and the password: itself, or the file that holds it."""

    user: str = ""
    password: str | None = None
    file: PasswordFile | None = None


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store as its URL names it. `nodes` are the server, the Sentinels, or some nodes of the cluster."""

    kind: Kind
    nodes: tuple[Node, ...]
    login: Login = Login()
    db: int = 0
    tls: Tls | None = None
    master: str = ""
    sentinel_login: Login = Login()

    def __str__(self) -> str:
        """As it may be written in a log: without a user, a password, or the name of a file."""
        return f"{self.kind} {','.join(map(str, self.nodes))}" + (f" ({self.master})" if self.master else "")


_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    "redis": (Kind.SERVER, False),
    "rediss": (Kind.SERVER, True),
    "unix": (Kind.SERVER, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}
SCHEMES: Final = tuple(_SCHEMES)
_PORTS: Final = {Kind.SERVER: 6379, Kind.SENTINEL: 26379, Kind.CLUSTER: 6379}
_OF_TLS: Final = ("ca_file", "cert_file", "key_file")
_OF_SENTINEL: Final = ("master", "sentinel_user", "sentinel_password_file")


def parse_store_url(url: str) -> StoreAddress:
    """Raises ValueError that says what is wrong, without what may be secret; no file is read here."""
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"a store's URL begins with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if not url.startswith(f"{parts.scheme}://"):
        raise ValueError(f"a store's URL is {parts.scheme}://..., with two slashes")
    kind, by_tls = _SCHEMES[parts.scheme]
    options = _options(parts, kind, by_tls)
    user, password, hosts = _authority(parts.netloc)
    login = _login(user, password, options.get("password_file"), "password_file")
    if parts.scheme == "unix":
        if not parts.path or hosts:
            raise ValueError("a socket's URL is unix:///PATH")
        nodes: tuple[Node, ...] = (Node(unquote(parts.path), 0),)
        db = options.get("db", "0")
    else:
        nodes = _nodes(hosts, kind)
        db = parts.path.strip("/") or options.get("db", "0")
    if not (db.isascii() and db.isdigit()):
        raise ValueError("a store's database is a number, as in redis://HOST:PORT/0")
    if kind is Kind.CLUSTER and int(db):
        raise ValueError("a cluster has database 0 only")
    if kind is Kind.SENTINEL and not options.get("master"):
        raise ValueError("a URL of Sentinels names what they watch: ?master=NAME")
    return StoreAddress(
        kind,
        nodes,
        login,
        int(db),
        _tls(options) if by_tls else None,
        options.get("master", ""),
        _login(options.get("sentinel_user", ""), None, options.get("sentinel_password_file"), "sentinel_password_file"),
    )


def _options(parts: SplitResult, kind: Kind, by_tls: bool) -> Mapping[str, str]:
    known = ("password_file", "db", *(_OF_TLS if by_tls else ()), *(_OF_SENTINEL if kind is Kind.SENTINEL else ()))
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise ValueError(f"{parts.scheme}:// takes {', '.join(known)}, and no {name!r}")
        if name in options or not value:
            raise ValueError(f"{name} is given once, and not empty")
        options[name] = value
    return options


def _authority(netloc: str) -> tuple[str, str | None, str]:
    login, _, hosts = netloc.rpartition("@")
    user, has_password, password = login.partition(":")
    return unquote(user), unquote(password) if has_password else None, hosts


def _nodes(hosts: str, kind: Kind) -> tuple[Node, ...]:
    return tuple(_node(text, kind) for text in (hosts.split(",") if kind is not Kind.SERVER else [hosts]))


def _node(text: str, kind: Kind) -> Node:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if text == "" and kind is Kind.SERVER:
        host = "localhost"
    if not host or "," in host or port == 0:
        raise ValueError(
            "a store's nodes are HOST:PORT" + ("" if kind is Kind.SERVER else ", with a comma between two")
        )
    return Node(host, port or _PORTS[kind])


def _login(user: str, password: str | None, file: str | None, option: str) -> Login:
    if file is None:
        return Login(user, password)
    if password is not None:
        raise ValueError(f"a URL with {option} names one file, and holds no password")
    return Login(user, None, PasswordFile(Path(file), user))


def _tls(options: Mapping[str, str]) -> Tls:
    if ("cert_file" in options) != ("key_file" in options):
        raise ValueError("cert_file and key_file are given together")
    ca, certificate, key = (Path(options[name]) if name in options else None for name in _OF_TLS)
    return Tls(ca, certificate, key)


def check_tls(tls: Tls) -> None:
    """Raises ValueError that names the file which cannot be used. Without this a store would seem to be away."""
    context = ssl.create_default_context()
    try:
        if tls.ca_file is not None:
            context.load_verify_locations(tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file {tls.ca_file} cannot be used: {error.strerror or error}") from None
    try:
        if tls.cert_file is not None and tls.key_file is not None:
            context.load_cert_chain(tls.cert_file, tls.key_file, password=lambda: b"")
    except (OSError, ssl.SSLError) as error:
        raise ValueError(
            f"cert_file {tls.cert_file} with key_file {tls.key_file} cannot be used: {error.strerror or error}"
        ) from None
