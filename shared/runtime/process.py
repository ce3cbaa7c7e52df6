"""What tells one process from all others of the deployment."""

import os
import socket


def process_name() -> str:
    """Return a name that no other living process has: the host and the process id."""
    return f"{socket.gethostname()}-{os.getpid()}"
