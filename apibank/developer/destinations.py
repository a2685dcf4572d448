"""Where a webhook may lead: to public addresses over TLS, and never into our own network.

A name is looked up once for each try, and the address that was looked at is the one that is called: a name that means
another host a moment later leads nowhere (DNS rebinding).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_PORTS: Final = {"https": 443, "http": 80}
_SECONDS: Final = 5.0

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]


class UnreachableError(Exception):
    """No webhook may lead there; the text says why."""


@dataclass(frozen=True, slots=True)
class Destination:
    """`url` calls the address itself; `host` is what its certificate and its Host header say."""

    url: str
    host: str
    authority: str


class Destinations:
    """What may be called. `allowed`: networks beyond the public ones, where plain HTTP is taken too."""

    def __init__(self, allowed: Sequence[Network] = (), lookup: Lookup | None = None) -> None:
        self._allowed = tuple(allowed)
        self._lookup = lookup or _resolve

    async def of(self, url: str) -> Destination:
        """Where a URL leads at this moment. Raises UnreachableError."""
        if not _PLAIN.fullmatch(url):
            # Other programs read them in their own ways; names of other scripts have a spelling in ASCII (RFC 5891).
            raise UnreachableError("Only printable ASCII: write xn--… for a name of another script, and %… in a path")
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise UnreachableError("That is no URL") from None
        if parts.scheme not in _PORTS or not parts.hostname:
            raise UnreachableError("A webhook is https://HOST/…")
        if parts.username is not None or parts.password is not None or parts.fragment:
            raise UnreachableError("Leave out names, passwords and #")
        addresses = [self._address(one) for one in await self._found(parts.hostname, port)]
        is_ours = all(self._is_allowed(one) for one in addresses)
        # All of them: whoever names one public address and one of ours gets neither.
        if not is_ours and not all(_is_public(one) for one in addresses):
            raise UnreachableError("That host is not on the public Internet")
        if parts.scheme != "https" and not is_ours:
            raise UnreachableError("A webhook is https://HOST/…: what is sent is not for everybody on the way")
        first = addresses[0]
        shown = f"[{first}]" if first.version == 6 else str(first)
        rest = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        authority = parts.netloc.rpartition("@")[2]
        return Destination(f"{parts.scheme}://{shown}:{port}{rest}", parts.hostname, authority)

    async def _found(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await asyncio.wait_for(self._lookup(host, port), _SECONDS)
        except (OSError, UnicodeError, TimeoutError):
            found = []
        if not found:
            raise UnreachableError("There is no such host")
        return found

    def _address(self, text: str) -> Address:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return mapped or address

    def _is_allowed(self, address: Address) -> bool:
        return any(address in network for network in self._allowed if network.version == address.version)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and not any(address in one for one in _SPECIAL)
    if address in _NAT64:
        return _is_public(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    # Addresses that carry one of IPv4 (6to4, Teredo) lead where that one does.
    inner = address.sixtofour or (address.teredo[1] if address.teredo else None)
    if inner is not None and not _is_public(inner):
        return False
    # What IANA has given out, and nothing else: what Python calls global has gaps.
    return address in _UNICAST and address not in _DOCUMENTATION and address.is_global


# A URL's own characters, whatever they mean (RFC 3986 §2).
_PLAIN: Final = re.compile(r"[!-~]{1,2048}")
# IETF protocol assignments, some of which clouds answer at, and the relays of 6to4 (RFC 6890, RFC 7526).
_SPECIAL: Final = (ipaddress.ip_network("192.0.0.0/24"), ipaddress.ip_network("192.88.99.0/24"))
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_UNICAST: Final = ipaddress.ip_network("2000::/3")
_DOCUMENTATION: Final = ipaddress.ip_network("3fff::/20")


async def _resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
