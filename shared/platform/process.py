"""The identity of a process: a name that is unique in the deployment, and its version of Rollcall."""

import os
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Final

DISTRIBUTION: Final = "rollcall"


def process_name() -> str:
    """Return a name that no other running process has: the host and the process id."""
    return f"{socket.gethostname()}-{os.getpid()}"


def rollcall_version() -> str:
    """Return the installed version; "0" if the source runs without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"
