"""The socket that a server of ours listens on: an address of either family, or all addresses of both."""

import socket
from typing import Final

ALL_ADDRESSES: Final = "::"
BACKLOG: Final = 2048


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen on an address or a name; `::` takes both families, or IPv4 alone where the machine has no IPv6.

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
