"""The version of Rollcall that this process runs, as a metric."""

import platform

from prometheus_client import Info

from shared.platform.process import rollcall_version

_BUILD = Info("rollcall_build", "The version that this process runs.")


def tell_build(service: str) -> None:
    """Set the metric."""
    _BUILD.info({"service": service, "version": rollcall_version(), "python": platform.python_version()})
