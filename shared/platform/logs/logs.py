"""Structured logs: JSON for machines, colours for people, one event a line.

Every process calls `configure_logs` once. `bound(session_id=…, room=…, attempt=…)` binds fields to every line
of a piece of work. An event's name is a literal. A sentence for people goes into `message=`; a terminal shows
it instead of the name (docs/logs.md).
"""

import io
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

import structlog

from shared.contracts.settings import LogSettings
from shared.platform.logs.floods import FloodFilter
from shared.platform.plain_text import many_lines, one_line

_NOISY = (
    "celery.app.trace",
    "celery.worker.strategy",
    "aiosqlite",
    "alembic",
    "asyncio",
    "httpx",
    "httpx2",
    "kombu",
    "amqp",
    "redis",
    "urllib3",
    "celery.redirected",
)

# A last defence, in case other code logs a secret: a JWT, an API key of ours, a webhook's secret, and the
# password in a URL.
_SECRETS = re.compile(
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
    r"|\brollcall_[sp]k_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}"
    r"|\bwhsec_[A-Za-z0-9+/=]{16,}"
    r"|(?<=://)[^\s/@\"']+(?=@)"
)

# A library writes text. Its lines get this event name, so that `event` is always a name.
LIBRARY_EVENT: Final = "library_logged"
_OURS: Final = ("services.", "shared.", "rollcall_agent.")
# Records of the standard library can't carry a field named `message`.
_CARRIED: Final = "carried_message"

_OF_MANY_LINES: Final = frozenset({"exception", "stack"})

# Without local variables: one of them always holds a secret.
_TRACEBACKS = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def configure_logs(settings: LogSettings, *, service: str) -> None:
    """Send structlog and the standard library's logging to stdout in one format."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stdout.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_the_service(service),
        _drop_repetitions,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    final: list[structlog.types.Processor] = (
        [_TRACEBACKS, structlog.processors.JSONRenderer()]
        if as_json
        else [
            _show_sentence,
            _make_plain,
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                pad_event_to=0,
                exception_formatter=_plain_traceback,
            ),
        ]
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _name_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final, _hide_secrets],
        )
    )
    handler.addFilter(FloodFilter(_tell_what_was_left_out))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _name_the_service(service: str) -> structlog.types.Processor:
    def add(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event.setdefault("service", service)
        return event

    return add


def _hide_secrets(_: Any, __: str, line: Any) -> str:
    return _SECRETS.sub("***", line)


def _drop_repetitions(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    # uvicorn and Celery attach their message a second time, with formatting.
    for key in ("color_message", "data"):
        event.pop(key, None)
    return event


def log_through_stdlib() -> None:
    """Pass this process's lines to the `logging` of the standard library.

    livekit-agents sends those records from a job's process to the worker, which writes them.
    """
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


def carry_sentence(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Move a line's `message` to another field, in which a record can carry it to the parent process."""
    if "message" in event:
        event[_CARRIED] = event.pop("message")
    return event


def _name_event(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    logger = event["_record"].name
    if logger.startswith(_OURS):  # a line of an agent's job, which logs through its worker
        if _CARRIED in event:
            event["message"] = event.pop(_CARRIED)
        return event
    return {**event, "event": LIBRARY_EVENT, "logger": logger, "message": event["event"]}


def _show_sentence(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    event["event"] = event.pop("message", event["event"])
    return event


def _make_plain(_: Any, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Make text of others harmless for a terminal. Values that are not text appear as Python writes them."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = many_lines(value) if key in _OF_MANY_LINES else one_line(value)
    return event


def _plain_traceback(to: TextIO, exc_info: Any) -> None:
    written = io.StringIO()
    structlog.dev.plain_traceback(written, exc_info)
    to.write(many_lines(written.getvalue()))


def _tell_what_was_left_out(logger: str, level: int, what: str, number: int) -> None:
    log = get_logger(__name__)
    said = f"{number} more in the last 10 s: {what}"
    if level < logging.ERROR:
        log.warning("lines_left_out", message=said, of=logger, number=number)
    else:
        log.error("lines_left_out", message=said, of=logger, number=number)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return a logger; `name` is the module's."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Bind fields to every line logged inside, in this thread or asyncio task."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield
