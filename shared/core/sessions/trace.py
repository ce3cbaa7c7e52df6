"""The log fields and spans of a session: of its tasks, and of the whole session.

The process that makes a session's last change records its span, after the commit. So each session has one
span.
"""

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from shared.contracts.sessions import Level, SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.platform.celery.tasks import TASK_QUEUES
from shared.platform.logs.logs import bound
from shared.platform.tracing import span_names as names
from shared.platform.tracing.tracing import Attributes, Kind, record, span, trace_fields


def bound_to(row: SessionRow, **more: Any) -> AbstractContextManager[None]:
    """Bind the session to each log line within the block."""
    return bound(session_id=row.id, room=row.room_name, **trace_fields(row.traceparent), **more)


def session_over(row: SessionRow, *, at: datetime) -> None:
    """Record the span of a session that is over; if it failed, the span is an error with its cause."""
    record(
        names.SESSION,
        of=row.traceparent,
        began=row.requested_at,
        ended=at,
        attributes={
            names.SESSION_ID: row.id,
            names.ROOM: row.room_name,
            names.AGENT_NAME: row.agent_name,
            names.STATUS: row.status,
            names.CAUSE: row.cause,
            names.END_REASON: row.end_reason,
            names.ATTEMPT: row.attempt,
            names.REVIVALS: row.revivals,
        },
        events={str(level): getattr(row, f"{level}_at") for level in Level},
        error=row.cause if row.status == SessionStatus.FAILED else None,
    )


def task_span(task: str, row: SessionRow) -> AbstractContextManager[None]:
    """Make the span of a Celery task that works on a session."""
    attributes: Attributes = {
        names.SESSION_ID: row.id,
        names.ROOM: row.room_name,
        names.ATTEMPT: row.attempt,
        names.MESSAGING_SYSTEM: "celery",
        names.MESSAGING_OPERATION: "process",
        names.MESSAGING_DESTINATION: TASK_QUEUES[task],
    }
    return span(task.rpartition(".")[2], of=row.traceparent, kind=Kind.CONSUMER, attributes=attributes)
