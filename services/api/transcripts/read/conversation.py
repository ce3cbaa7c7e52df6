"""Read a conversation: page by page for JSON, turn by turn for exports."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from itertools import accumulate

from sqlalchemy.ext.asyncio import AsyncSession

from services.api.sessions.read import session_of
from services.api.transcripts.read.completeness import judge
from services.api.transcripts.read.latency import summarise
from services.api.transcripts.schemas import Transcript, Turn
from shared.contracts.sessions import SessionStatus
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.reading_order import Place, read_order, read_turns

_EXPORT_BATCH = 500

Opened = Callable[[], AbstractAsyncContextManager[AsyncSession]]
"""Opens a session of the database for a short while."""


async def read_conversation(
    db: AsyncSession, session_id: str, *, project: str, limit: int, after_seq: int, now: datetime
) -> Transcript:
    """Return up to `limit` turns above `after_seq` in reading order, and the transcript's completeness.

    A page may be a little longer; see `_page`. Raises `Problem`.
    """
    session = await session_of(db, session_id, project)
    order = await read_order(db, session_id)
    page, next_after_seq = _page(order, limit=limit, after_seq=after_seq)
    began = _began(session, order)
    found = await judge(db, session, now=now)
    return Transcript(
        session_id=session_id,
        status=SessionStatus(session.status),
        state=found.state,
        complete=found.complete,
        missing=found.missing,
        missing_count=found.missing_count,
        missing_since=found.missing_since,
        erased_at=session.transcript_erased_at,
        items=[Turn.at(row, place.at - began) for place, row in await read_turns(db, session_id, page)],
        next_after_seq=next_after_seq,
        summary=None if after_seq else await summarise(db, session_id),
    )


async def call_started_at(db: AsyncSession, session: SessionRow) -> datetime:
    """Return when the agent was first seen in the room or the first turn began, whichever was first."""
    return _began(session, await read_order(db, session.id))


async def each_turn(opened: Opened, session_id: str, started_at: datetime) -> AsyncIterator[Turn]:
    """Yield every turn in the order of reading. No transaction is open while the client reads."""
    async with opened() as db:
        order = await read_order(db, session_id)
    for start in range(0, len(order), _EXPORT_BATCH):
        async with opened() as db:
            turns = await read_turns(db, session_id, order[start : start + _EXPORT_BATCH])
        for place, row in turns:
            yield Turn.at(row, place.at - started_at)


def _began(session: SessionRow, order: Sequence[Place]) -> datetime:
    spoken = order[0].at if order else None
    known = [moment for moment in (session.active_at, spoken) if moment is not None]
    return min(known, default=session.requested_at)


def _page(order: Sequence[Place], *, limit: int, after_seq: int) -> tuple[Sequence[Place], int | None]:
    """Return the next page, and the `after_seq` of the page after it.

    A page ends only where every later turn has a higher number than all earlier ones. So all pages together
    are the whole transcript in its order, and turns with the same number are never on two pages.
    """
    rest = [place for place in order if place.seq > after_seq]
    lowest_behind = list(accumulate((place.seq for place in reversed(rest)), min))[::-1]
    highest = after_seq
    for number, place in enumerate(rest[:-1], 1):
        highest = max(highest, place.seq)
        if number >= limit and lowest_behind[number] > highest:
            return rest[:number], highest
    return rest, None
