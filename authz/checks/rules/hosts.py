"""URLs that lead to a public host, as far as their text can say (no name is resolved: attack class SSRF).

Whoever fetches a URL reads its host in more ways than one: 127.0.0.1 is also 2130706433, 0x7f.1, 0177.0.0.1, 127.1 and
[::ffff:7f00:1] (WHATWG URL §3.5, inet_aton). What is not of the plainest form is refused, and so is every name that
is no public one. A name that resolves to a private address passes here: that is for whoever fetches it.
"""

import re
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

# No user information, no escapes in the host, no backslash, nothing that is not ASCII (a name is sent as punycode).
_URL: Final = re.compile(
    r"https?://(?:(?P<name>[A-Za-z0-9._-]{1,253})|\[(?P<six>[0-9A-Fa-f:.]{2,45})\])(?::(?P<port>[0-9]{1,5}))?"
    r"(?:[/?#][\x21-\x5b\x5d-\x7e]*)?",
    re.IGNORECASE,
)
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_EMBEDDED: Final = re.compile(r"(?<![0-9])(?=([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})[.-]([0-9]{1,3})(?![0-9]))")
# Special use (RFC 6761, RFC 6762, RFC 8375, RFC 9476), what companies use inside, and services that name addresses.
_INNER: Final = (
    "localhost",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "localdomain",
    "test",
    "invalid",
    "example",
    "onion",
    "alt",
    "arpa",
    "svc",
    "consul",
    "nip.io",
    "sslip.io",
    "xip.io",
    "localtest.me",
    "lvh.me",
    "vcap.me",
    "lacolhost.com",
)
# Not yet known to ipaddress: segment routing (RFC 9602) and documentation (RFC 9637).
_NOT_PUBLIC: Final = (ip_network("5f00::/16"), ip_network("3fff::/20"))
# Ways into IPv4 beside those that ipaddress knows: NAT64 (RFC 6052, RFC 8215) and IPv4-compatible addresses.
_EMBEDDING: Final = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"), ip_network("::/96"))


def leads_outside(url: str) -> bool:
    """Whether a URL is http or https, of the plainest form, and names a public host."""
    found = _URL.fullmatch(url) if len(url) <= 2048 else None
    if found is None or (found["port"] is not None and not 0 < int(found["port"]) < 65536):
        return False
    if found["six"] is not None:
        return _is_public_six(found["six"])
    return _is_public_name(found["name"])


def _is_public_six(text: str) -> bool:
    try:
        address = IPv6Address(text)
    except ValueError:
        return False
    if any(address in network for network in _EMBEDDING):
        return _is_public_four(IPv4Address(int(address) & 0xFFFFFFFF)) and address not in _EMBEDDING[2]
    inner = address.ipv4_mapped or address.sixtofour
    if inner is not None and not _is_public_four(inner):
        return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.teredo is None and address.is_global and not address.is_multicast


def _is_public_four(address: IPv4Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _is_public_name(name: str) -> bool:
    host = name.lower().removesuffix(".")
    labels = host.split(".")
    if not all(labels):
        return False
    # WHATWG: a host whose last label is a number is an IPv4 address, or no host at all.
    if _NUMBER.fullmatch(labels[-1]):
        address = _read_four(host)
        return address is not None and _is_public_four(address)
    if any(_leads_inside(found) for found in _EMBEDDED.finditer(host)):
        return False
    return len(labels) > 1 and not any(host == inner or host.endswith("." + inner) for inner in _INNER)


def _leads_inside(found: re.Match[str]) -> bool:
    """Whether a name holds an address that is not public: there are services that resolve it to that."""
    address = _read_four(".".join(found.groups()))
    return address is not None and not _is_public_four(address)


def _read_four(text: str) -> IPv4Address | None:
    """Four decimal numbers. Others are one address to some programs and another one to others: 010.0.0.1."""
    try:
        return IPv4Address(text)
    except ValueError:
        return None
