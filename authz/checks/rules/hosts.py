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
_OCTAL: Final = re.compile("0[0-7]+")
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
    "nip.io",
    "sslip.io",
    "xip.io",
    "localtest.me",
    "lvh.me",
    "vcap.me",
    "lacolhost.com",
)
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
        address = _read_four(labels)
        return address is not None and _is_public_four(address)
    return len(labels) > 1 and not any(host == inner or host.endswith("." + inner) for inner in _INNER)


def _read_four(labels: list[str]) -> IPv4Address | None:
    """inet_aton: one to four numbers, decimal, octal or hexadecimal; the last fills what is left."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        return None
    numbers = [_read_number(label) for label in labels]
    *parts, last = numbers
    if any(part is None or part > 255 for part in parts) or last is None or last >= 256 ** (5 - len(labels)):
        return None
    value = last
    for position, part in enumerate(parts):
        value += (part or 0) << (8 * (3 - position))
    return IPv4Address(value)


def _read_number(label: str) -> int | None:
    if len(label) > 24:
        return None
    if label[:2].lower() == "0x":
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label.startswith("0"):
        return int(label, 8) if _OCTAL.fullmatch(label) else None
    return int(label)
