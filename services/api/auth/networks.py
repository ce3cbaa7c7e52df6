"""Which network an address belongs to. Visitors are counted by it: who has one of its addresses has all."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

# What one household or one host is given at the least (RFC 6177, RFC 7934).
_OF_ONE: Final = 64
# Addresses of IPv4 as a translator writes them (RFC 6052).
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")


def network_of(address: str) -> str:
    """An IPv4 address as it is, of an IPv6 address its /64; what is no address, such as "", as it is.

    An IPv6 address that stands for one of IPv4 (mapped, translated, 6to4) is that address.
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
