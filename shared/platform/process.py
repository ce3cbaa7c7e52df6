"""The identity of a process: a name that is unique in the deployment, and its version of Rollcall."""

import os
import socket
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "rollcall"
# Of an agent's own environment, which has the library alone.
LIBRARY: Final = "rollcall-agent"


def process_name() -> str:
    """Return a name that no other running process has: the host and the process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def rollcall_version() -> str:
    """Return the installed version; "0" if the source runs without being installed."""
    for name in (DISTRIBUTION, LIBRARY):
        with suppress(PackageNotFoundError):
            return version(name)
    return "0"
