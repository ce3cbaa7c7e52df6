"""Decide the first turn number of a new attempt, and whether its agent takes over a conversation."""

from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from shared.core.sessions.attempts import agent_came
from shared.core.sessions.tables import AttemptRow
from shared.core.transcripts.tables import TranscriptItemRow

# More turns than an agent can have unsent in its spool: a call has a few a minute.
SPOOL_GAP: Final = 1000


async def next_seq(db: AsyncSession, session_id: str) -> int:
    """Return the first sequence number that no earlier agent can have used.

    An agent that died without reporting its count may have turns that are not stored yet. Numbers are left
    free for them.
    """
    last = await db.scalar(
        select(func.max(TranscriptItemRow.seq)).where(col(TranscriptItemRow.session_id) == session_id)
    )
    used, uncounted = last or 0, False
    earlier = select(AttemptRow).where(col(AttemptRow.session_id) == session_id, agent_came())
    for attempt in await db.scalars(earlier):
        used = max(used, attempt.first_seq - 1 + (attempt.expected_turns or 0))
        uncounted = uncounted or attempt.expected_turns is None
    return used + 1 + (SPOOL_GAP if uncounted else 0)


async def takes_over(db: AsyncSession, session_id: str) -> bool:
    """Return whether anything was said, so that a new agent continues the conversation without a greeting."""
    said = select(col(TranscriptItemRow.seq)).where(col(TranscriptItemRow.session_id) == session_id).limit(1)
    return await db.scalar(said) is not None
