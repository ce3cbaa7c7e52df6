"""Which version of Rollcall this process runs."""

import platform
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import Info

_BUILD = Info("rollcall_build", "The version that this process runs.")


def rollcall_version() -> str:
    """The installed version; "0" where the source runs without being installed."""
    try:
        return version("rollcall")
    except PackageNotFoundError:
        return "0"


def tell_build(service: str) -> None:
    """Show it among the metrics."""
    _BUILD.info({"service": service, "version": rollcall_version(), "python": platform.python_version()})
