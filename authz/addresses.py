"""Client addresses and the allow-lists that they are looked up in."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
# RFC 4291 §2.5.5.2: IPv4 in IPv6 clothes.
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
# Whoever has one IPv6 address has all of its /64.
_IPV6_PREFIX: Final = 64


# The text comes from Envoy, a request of one client after the other: few texts, each parsed once.
@lru_cache(maxsize=4096)
def read_address(text: str) -> Address | None:
    """An address, or None where the text is not exactly one. An IPv4 address in IPv6 clothes is the IPv4 address."""
    if len(text) > 45 or "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def read_network(text: str) -> Network:
    """A network, one of IPv4 in IPv6 clothes as what it is: `read_address` undresses its addresses too. ValueError."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        bits = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((bits, network.prefixlen - _MAPPED.prefixlen))
    return network


def counted(address: Address | None) -> str:
    """Under what name an address is counted; whoever has none that can be read shares one count."""
    if isinstance(address, IPv6Address):
        return str(ip_network((address, _IPV6_PREFIX), strict=False).network_address)
    return "" if address is None else str(address)


@dataclass(frozen=True, slots=True)
class AllowList:
    """Networks whose addresses are admitted. An empty list admits nobody, and so does an unknown address."""

    networks: tuple[Network, ...]

    @classmethod
    def of(cls, networks: Iterable[str]) -> "AllowList":
        return cls(tuple(read_network(each) for each in networks))

    def admits(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self.networks)
