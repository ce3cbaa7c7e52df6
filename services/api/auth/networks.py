"""The network of an address.

Visitors are counted by network: who has one of its addresses has all of them.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

# The smallest network that one household or host is given (RFC 6177, RFC 7934).
_OF_ONE: Final = 64
# IPv4 addresses as a translator writes them (RFC 6052).
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")


def network_of(address: str) -> str:
    """Return an IPv4 address unchanged, and the /64 of an IPv6 address.

    Other text, such as "", is returned unchanged. An IPv6 address that stands for an IPv4 address (mapped,
    translated, 6to4) counts as that IPv4 address.
    """
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        inner = _ipv4_in(found)
        return str(IPv6Network((found, _OF_ONE), strict=False)) if inner is None else str(inner)
    return str(found)


def _ipv4_in(address: IPv6Address) -> IPv4Address | None:
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
