"""Log as livekit-agents does, unless the user has configured structlog."""

import structlog

from shared.platform.logs.logs import log_through_stdlib


def log_with_sdk() -> None:
    """Pass our lines to the `logging` of this process: the SDK formats them, and carries those of a job."""
    if not structlog.is_configured():
        log_through_stdlib()
