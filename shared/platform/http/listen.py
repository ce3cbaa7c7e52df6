"""The listening sockets of our servers: on one IPv4 or IPv6 address, or on all addresses of both."""

import socket
from typing import Final

ALL_ADDRESSES: Final = "::"
BACKLOG: Final = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen on an address or a name; `::` means IPv6 and IPv4, or IPv4 alone on a machine without IPv6.

    Raises `OSError`, which names the address.
    """
    try:
        if host == ALL_ADDRESSES and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        if host == ALL_ADDRESSES:
            return socket.create_server(
                (host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = f"can't listen on {host}, port {port}: {error.strerror}"
        raise OSError(error.errno, reason) from error
