"""Unit tests run as on a machine without a network: no name resolves, and no other machine is reachable."""

import errno
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest

# An audit hook can't be removed, and tests of other folders may run in this process, too.
_WITHOUT_NETWORK: Final[set[str]] = set()


def _unplug(event: str, arguments: tuple[Any, ...]) -> None:
    """Python calls this before it looks a name up or connects, whatever library asks."""
    if not _WITHOUT_NETWORK:
        return
    if event == "socket.getaddrinfo" and not _is_here(arguments[0]):
        raise socket.gaierror(socket.EAI_NONAME, f"a unit test asks for {arguments[0]!r}")
    if event == "socket.connect" and isinstance(arguments[1], tuple) and not _is_here(arguments[1][0]):
        raise OSError(errno.ENETUNREACH, f"a unit test connects to {arguments[1]}")


def _is_here(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "::", "::1"):
        return True
    try:
        first_byte = socket.inet_aton(str(name))[0]
    except OSError:
        return False
    return first_byte in (0, 127)


sys.addaudithook(_unplug)


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest) -> Iterator[None]:
    _WITHOUT_NETWORK.add(request.node.nodeid)
    yield
    _WITHOUT_NETWORK.clear()
