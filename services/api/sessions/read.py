"""Read sessions and their history."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Text, cast, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.errors.problems import unknown_session
from services.api.http.paging import cut_page, one_more
from shared.contracts.causes import Cause
from shared.contracts.events import Envelope
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import AttemptRow, EventRow, SessionRow
from shared.core.transcripts.tables import TranscriptItemRow


@dataclass(frozen=True)
class SessionFilters:
    """Which sessions are listed. A filter that is None or empty matches all.

    `causes` are those of failures, and those why an agent was still missing when a session was cancelled. The
    times are those of the request: from `since` on, and before `until`. `worker_id` is of a worker that an
    attempt chose, or that took its job. `metadata` are values by name, as texts.
    """

    agent_name: str | None = None
    room_name: str | None = None
    participant_identity: str | None = None
    causes: Collection[Cause] = ()
    since: datetime | None = None
    until: datetime | None = None
    worker_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filters as conditions of a query."""
        conditions = [
            col(column) == wanted
            for column, wanted in (
                (SessionRow.agent_name, self.agent_name),
                (SessionRow.room_name, self.room_name),
                (SessionRow.participant_identity, self.participant_identity),
            )
            if wanted is not None
        ]
        if self.causes:
            conditions.append(col(SessionRow.cause).in_(list(self.causes)))
        if self.since is not None:
            conditions.append(col(SessionRow.requested_at) >= self.since)
        if self.until is not None:
            conditions.append(col(SessionRow.requested_at) < self.until)
        if self.worker_id is not None:
            conditions.append(_had_worker(self.worker_id))
        conditions += [_metadata(name) == value for name, value in self.metadata.items()]
        return conditions


def _had_worker(worker_id: str) -> ColumnElement[bool]:
    of_session = col(AttemptRow.session_id) == col(SessionRow.id)
    its = or_(col(AttemptRow.worker_id) == worker_id, col(AttemptRow.chosen_worker_id) == worker_id)
    return exists().where(of_session, its)


def _metadata(name: str) -> ColumnElement[str]:
    """A value of the session's metadata as text, on either database: SQLite would compare a number as one."""
    return cast(col(SessionRow.client_metadata)[name].as_string(), Text)


async def get_session(db: AsyncSession, session_id: str) -> SessionRow:
    """Return a session of any project; raises `Problem` if there is none."""
    # PostgreSQL refuses even to search for a text with NUL in it.
    row = await db.get(SessionRow, session_id) if session_id.isprintable() else None
    if row is None:
        raise unknown_session(session_id)
    return row


async def session_of(db: AsyncSession, session_id: str, project: str) -> SessionRow:
    """Return a session of a project; raises `Problem` if the project has none of this id."""
    row = await get_session(db, session_id)
    if row.project != project:
        raise unknown_session(session_id)
    return row


async def get_attempts(db: AsyncSession, session_id: str) -> list[AttemptRow]:
    """Return a session's dispatch attempts in order."""
    query = select(AttemptRow).where(col(AttemptRow.session_id) == session_id)
    return list((await db.scalars(query.order_by(col(AttemptRow.number)))).all())


async def list_sessions(
    db: AsyncSession,
    *,
    project: str,
    limit: int,
    cursor: str | None = None,
    status: SessionStatus | Collection[SessionStatus] | None = None,
    canary: bool | None = None,
    filters: SessionFilters | None = None,
) -> tuple[Sequence[SessionRow], str | None]:
    """Return up to `limit` sessions of a project older than the cursor, and the next cursor.

    The newest sessions come first. The cursor is a session id: ids are UUIDv7, so they sort by the time when
    they were made. No filter changes this order, so a cursor of one list is valid for any other.
    """
    of_project = select(SessionRow).where(col(SessionRow.project) == project)
    query = of_project.order_by(col(SessionRow.id).desc()).limit(one_more(limit))
    if cursor is not None:
        query = query.where(col(SessionRow.id) < cursor)
    if status:
        wanted = [status] if isinstance(status, SessionStatus) else list(status)
        query = query.where(col(SessionRow.status).in_(wanted))
    if canary is not None:
        query = query.where(col(SessionRow.canary).is_(canary))
    query = query.where(*(filters or SessionFilters()).conditions())
    rows = (await db.scalars(query)).all()
    return cut_page(rows, limit, lambda row: row.id)


async def count_turns(db: AsyncSession, session_ids: Collection[str]) -> dict[str, int]:
    """Return how many turns are stored of each of the sessions; those without any are not in it."""
    of_session = col(TranscriptItemRow.session_id)
    query = select(of_session, func.count()).where(of_session.in_(session_ids)).group_by(of_session)
    return {session_id: turns for session_id, turns in (await db.execute(query)).all()}  # noqa: C416


async def read_events(
    db: AsyncSession, session_id: str, *, after: int = 0, up_to: int | None = None
) -> list[Envelope]:
    """Return a session's events with a sequence number above `after`, and at most `up_to`, in order."""
    query = (
        select(EventRow)
        .where(col(EventRow.session_id) == session_id, col(EventRow.sequence) > after)
        .order_by(col(EventRow.sequence))
    )
    if up_to is not None:
        query = query.where(col(EventRow.sequence) <= up_to)
    return [row.envelope() for row in (await db.scalars(query)).all()]
