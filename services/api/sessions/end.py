"""End a session by request, in any state."""

from services.api.errors.problems import Problem
from services.api.sessions.read import session_of
from shared.contracts.causes import Cause
from shared.contracts.events import Event, SessionCancelled, SessionEnded
from shared.contracts.sessions import ENDED_BY_REQUEST, TERMINAL, SessionStatus
from shared.core.sessions.outbox import Relay
from shared.core.sessions.repository import end
from shared.core.sessions.tables import SessionRow
from shared.core.sessions.trace import bound_to
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

_RACES = 20


async def end_session(
    session_id: str, *, project: str, database: Database, relay: Relay, now: Clock
) -> SessionRow:
    """End the session; the task that follows the event removes the agent and closes the room.

    Ending a session that is over changes nothing. Raises `Problem` if there is no such session.
    """
    for _ in range(_RACES):
        async with database.write() as db:
            row = await session_of(db, session_id, project)
            if row.status in TERMINAL:
                return row
            status, event = _end_of(row)
            won = await end(db, row, status, event=event, now=now(), end_reason=ENDED_BY_REQUEST)
        if won:
            relay.publish_soon(row.id)
            with bound_to(row):
                log.info("session_ended_by_request", status=str(status))
            return row
    raise Problem(503, "busy", "the session keeps changing; try again", headers={"Retry-After": "1"})


def _end_of(row: SessionRow) -> tuple[SessionStatus, Event]:
    if row.status == SessionStatus.ACTIVE:
        return SessionStatus.ENDED, SessionEnded(reason=ENDED_BY_REQUEST)
    cause = Cause(row.waiting_for) if row.waiting_for else None
    return SessionStatus.CANCELLED, SessionCancelled(reason=ENDED_BY_REQUEST, cause=cause)
