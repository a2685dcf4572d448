"""Whom a client's address stands for."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

# The least that anybody is given (RFC 6177 §2, RFC 7934): whoever has one of its addresses has all 2**64 of them, and
# were each counted, nobody who changes them would ever be refused, and each would fill memory with a counter.
_PREFIX: Final = 64


def network_of(address: str) -> str:
    """The /64 of an IPv6 address, and an IPv4 address, however it is written, as itself; other text unchanged."""
    try:
        read = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(read, IPv6Address):
        return str(read)
    return str(read.ipv4_mapped or IPv6Network((read, _PREFIX), strict=False).network_address)
