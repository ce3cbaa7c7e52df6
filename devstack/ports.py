"""Free ports of this machine."""

import random
import socket

from devstack.provision.server import ProvisionError, Tell

# Below the range from which the kernel takes ports for outgoing connections, so that no connection takes a
# port after it is chosen and before the server listens.
_FIRST, _LAST = 15_000, 32_000


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface, over TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            # Closed connections of an earlier server may linger; they prevent no server from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


class Ports:
    """Hands out each port once. If `fixed`, it gives the wanted port, or the next free one with a notice."""

    def __init__(self, *, fixed: bool, tell: Tell) -> None:
        self._fixed = fixed
        self._tell = tell
        self._taken: set[int] = set()

    def take(self, wanted: int, *, what: str) -> int:
        """Return a free port; raises `ProvisionError` if there is none."""
        port = self._next(wanted, what) if self._fixed else free_port(self._taken)
        self._taken.add(port)
        return port

    def _next(self, wanted: int, what: str) -> int:
        for port in range(wanted, min(wanted + 200, 65_536)):
            if port in self._taken or not is_free(port):
                continue
            if port != wanted and wanted not in self._taken:
                self._tell(f"port {wanted} is taken: {what} listens on {port}")
            return port
        raise ProvisionError(f"no free port from {wanted} on for {what}")


def free_port(taken: set[int] | frozenset[int] = frozenset()) -> int:
    """Return a random free port outside `taken`; raises `ProvisionError` if it finds none."""
    for _ in range(1_000):
        port = random.randrange(_FIRST, _LAST)  # noqa: S311
        if port not in taken and is_free(port):
            return port
    raise ProvisionError(f"no free port between {_FIRST} and {_LAST}")
