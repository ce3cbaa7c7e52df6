"""Helpers for a worker whose jobs are threads of one process and share LiveKit's media library."""

import os
from types import SimpleNamespace

from livekit.rtc import _ffi_client


def outlive_panics() -> None:
    """Keep the worker alive when the media library panics.

    livekit-rtc 1.1 then sends its own process a SIGTERM. On a busy machine, one room whose connection was
    given up is enough for a panic, and the jobs of all other rooms would end too.
    """
    setattr(_ffi_client, "os", SimpleNamespace(**{**vars(os), "kill": _ignore}))  # noqa: B010


def _ignore(*_: object) -> None:
    """Send nothing."""
