"""Where webhooks may be sent: to the public internet, and to other targets that the settings allow.

An endpoint's address is checked when the endpoint is registered, so that a mistake is reported at once. It is
checked again at each connection, since the name may have another address by then.
"""

from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

from yarl import URL

from shared.contracts.settings import WebhookSettings
from shared.platform.name_lookup import Names

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_LENGTH: Final = 2048

# Special addresses that `is_global` of some Python versions considers public. It knows all others.
_SPECIAL: Final = tuple(
    ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)
_UNICAST_V6: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


class ForbiddenTarget(Exception):
    """Webhooks may not be sent there. The text tells the person who registers the endpoint why."""


class TargetPolicy:
    """Which addresses are allowed."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._allow_private = settings.webhook_allow_private
        self._allow_http = settings.webhook_allow_http
        self._allowed: tuple[Network, ...] = tuple(settings.webhook_allowed_networks)
        self.names = Names()

    def check_url(self, url: str) -> URL:
        """Return the parsed URL, if everything but its name's address is allowed.

        Raises `ForbiddenTarget`.
        """
        if len(url) > MAX_URL_LENGTH:
            raise ForbiddenTarget(f"the URL has more than {MAX_URL_LENGTH} characters")
        try:
            parsed = URL(url)
            host, _ = parsed.host, parsed.port
        except ValueError as fault:
            raise ForbiddenTarget(f"this is not a URL: {fault}") from None
        schemes = ("https", "http") if self._allow_http else ("https",)
        if parsed.scheme not in schemes or not host:
            raise ForbiddenTarget(f"the URL must begin with {' or '.join(f'{s}://' for s in schemes)}")
        if parsed.user is not None or parsed.password is not None:
            raise ForbiddenTarget("the URL must not hold a name or a password")
        try:
            literal = ip_address(host)
        except ValueError:
            return parsed  # a name, or a number that only the resolver treats as an address
        self.check_address(literal)
        return parsed

    def check_address(self, address: Address | str) -> None:
        """Raise `ForbiddenTarget` unless webhooks may be sent to this address."""
        found = ip_address(address.partition("%")[0]) if isinstance(address, str) else address
        meant = _embedded(found) or found
        if self._allow_private or any(meant in network for network in self._allowed):
            return
        if not is_public(meant):
            # Without the address: a person who registers an endpoint must not learn what internal names
            # resolve to.
            raise ForbiddenTarget("it does not lead to a public address")

    async def check_target(self, url: str, *, project: str = "") -> None:
        """Check the URL and every address that its name has now; raises `ForbiddenTarget`."""
        parsed = self.check_url(url)
        for address in await self._resolve(parsed, project):
            self.check_address(address)

    async def _resolve(self, url: URL, project: str) -> Iterable[str]:
        try:
            found = await self.names.look_up(url.raw_host or "", url.port, project=project)
        except (OSError, UnicodeError) as error:
            raise ForbiddenTarget(f"the name {url.host} can't be resolved: {error}") from None
        return [str(sockaddr[0]) for *_, sockaddr in found]


def is_public(address: Address) -> bool:
    """Return whether the address is a unicast address of the public internet."""
    if isinstance(address, IPv6Address) and address not in _UNICAST_V6:
        return False
    special = address.is_multicast or any(address in network for network in _SPECIAL)
    return address.is_global and not special


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that this IPv6 address stands for; None if there is none."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped
