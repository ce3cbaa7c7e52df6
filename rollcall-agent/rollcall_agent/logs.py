"""Log through the standard library, as livekit-agents does, unless the user has configured structlog."""

import structlog

from shared.platform.logs.logs import carry_sentence


def log_through_stdlib() -> None:
    """Hand our lines to the `logging` of this process: the SDK formats them, and carries those of a job."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            carry_sentence,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
