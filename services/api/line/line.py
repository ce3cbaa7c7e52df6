"""Read who waits for an agent."""

from typing import Final

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.api.line.schemas import Line, Lines, WaitingSession
from shared.contracts.causes import Cause
from shared.core.admission.wait_queue import FULL, IN_LINE, POOL, has_waited
from shared.core.sessions.tables import SessionRow

_Place = tuple[str, str]


async def read_lines(db: AsyncSession, project: str, *, agent_name: str | None, limit: int) -> Lines:
    """Return the lines of a project, each with its first `limit` sessions."""
    wanted = [has_waited(), col(SessionRow.project) == project]
    if agent_name is not None:
        wanted.append(col(SessionRow.agent_name) == agent_name)
    lines = await _count(db, wanted)
    for line, session in await _first(db, wanted, limit):
        if line in lines:  # it may have begun to wait a moment ago
            lines[line].sessions.append(session)
    return Lines(lines=sorted(lines.values(), key=lambda line: line.oldest_at))


async def _count(db: AsyncSession, wanted: list[ColumnElement[bool]]) -> dict[_Place, Line]:
    by_cause = (
        select(
            col(SessionRow.agent_name),
            POOL.label("pool"),
            col(SessionRow.waiting_for),
            func.count(),
            func.min(col(SessionRow.requested_at)),
        )
        .where(*wanted)
        # By the label: PostgreSQL takes the same expression with another parameter for a different one.
        .group_by(col(SessionRow.agent_name), "pool", col(SessionRow.waiting_for))
    )
    lines: dict[_Place, Line] = {}
    for agent_name, pool, cause, waiting, oldest_at in (await db.execute(by_cause)).all():
        line = lines.setdefault(
            (agent_name, pool),
            Line(
                agent_name=agent_name, deployment=pool, waiting=0, oldest_at=oldest_at, causes={}, sessions=[]
            ),
        )
        line.causes[Cause(str(cause))] = waiting
        line.waiting += waiting
        line.oldest_at = min(line.oldest_at, oldest_at)
    return lines


# The place is among the sessions of every project, as the verifier lets them go on.
_PLACE: Final = func.row_number().over(partition_by=(col(SessionRow.agent_name), POOL), order_by=IN_LINE)


async def _first(
    db: AsyncSession, wanted: list[ColumnElement[bool]], limit: int
) -> list[tuple[_Place, WaitingSession]]:
    places = select(col(SessionRow.id), _PLACE.label("place")).where(has_waited()).subquery()
    of_line = func.row_number().over(partition_by=(col(SessionRow.agent_name), POOL), order_by=places.c.place)
    numbered = (
        select(SessionRow, places.c.place, of_line.label("number"))
        .join(places, places.c.id == col(SessionRow.id))
        .where(*wanted)
        .subquery()
    )
    first = select(numbered).where(numbered.c.number <= limit).order_by(numbered.c.place)
    return [
        (
            (row.agent_name, row.deployment or ""),
            WaitingSession(
                session_id=row.id,
                participant_identity=row.participant_identity,
                waiting_for=row.waiting_for,
                place_in_line=row.place if row.waiting_for in FULL else None,
                requested_at=row.requested_at,
                deadline_at=row.deadline_at,
            ),
        )
        for row in (await db.execute(first)).all()
    ]
