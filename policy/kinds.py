"""The words and numbers that policies are made of: names, paths, methods, tiers, addresses, counts."""

import ipaddress
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Model(BaseModel):
    """What every part of a policy file is: immutable, and without fields that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, str_strip_whitespace=False)


class Tier(StrEnum):
    """What a caller has paid for. A tier that is not one of these is refused."""

    FREE = "free"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"
    INTERNAL = "internal"


class Action(StrEnum):
    """What a method does to a resource, and so the scope that it needs."""

    READ = "read"
    WRITE = "write"


class Method(StrEnum):
    """The methods that a policy can admit (RFC 9110 §9, RFC 5789); CONNECT and TRACE are not among them."""

    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    OPTIONS = "OPTIONS"


def _plain_path(path: str) -> str:
    # A path that Envoy would normalise, or that needs decoding, could never match: refuse it where it is written.
    if not path.startswith("/") or (path != "/" and path.endswith("/")):
        raise ValueError("a path starts with / and has no / at its end")
    if "//" in path or any(segment in {".", ".."} for segment in path.split("/")):
        raise ValueError("a path has no empty, . or .. segments")
    if not re.fullmatch(r"[A-Za-z0-9/_.~-]{1,1024}", path):
        raise ValueError("a path holds only letters, digits and / _ . ~ -, at most 1024 of them")
    return path


def _endpoint(text: str) -> str:
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        # sun_path of sockaddr_un holds 108 bytes, the last one zero.
        if not path.startswith("/") or len(path.encode()) > 107:
            raise ValueError("unix: is followed by an absolute path of at most 107 bytes")
        return text
    host, separator, port = text.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise ValueError("an endpoint is HOST:PORT with a port of 1 to 65535, or unix:/PATH")
    if host.startswith("[") and host.endswith("]"):
        ipaddress.IPv6Address(host[1:-1])
    elif not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", host):
        raise ValueError("the host of an endpoint is a name, an IPv4 address or an IPv6 address in brackets")
    elif re.fullmatch(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)", host):
        # No name ends so (RFC 3696 §2): what is no address in plain notation is a slip, or one in disguise.
        ipaddress.IPv4Address(host)
    return text


def is_host_name(endpoint: str) -> bool:
    """Whether an endpoint is a name to resolve, and neither an address nor a Unix socket."""
    if endpoint.startswith("unix:"):
        return False
    try:
        ipaddress.ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False


def _bind_address(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError("a listener's address is IP:PORT")
    _endpoint(text)
    ipaddress.ip_address(text.rpartition(":")[0].strip("[]"))
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


# A name appears in metrics, logs, paths of status pages and Envoy's resource names.
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Path = Annotated[str, AfterValidator(_plain_path)]
# Where a service listens: "host:port", "[ipv6]:port" or "unix:/path".
Endpoint = Annotated[str, AfterValidator(_endpoint)]
# Where Envoy listens: "ip:port".
BindAddress = Annotated[str, AfterValidator(_bind_address)]
HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")]
Network = Annotated[str, AfterValidator(_network)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Origin = Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]+(:[0-9]{1,5})?$")]
SpiffeId = Annotated[str, StringConstraints(pattern=r"^spiffe://[a-z0-9.-]+(/[A-Za-z0-9._-]+)+$")]
ScopeNamespace = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
RoleName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LintCode = Annotated[str, StringConstraints(pattern=r"^AB[0-9]{3}$")]
# Long enough to say something.
Reason = Annotated[str, StringConstraints(min_length=10, max_length=200)]
LintExceptions = Mapping[LintCode, Reason]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4096)]

# Strict, so that neither "100" nor true passes for a number.
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Milliseconds = Annotated[int, Field(strict=True, ge=1, le=3_600_000)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=86_400)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]
