"""The verifier's database access: claim sessions, and record what was proven."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import bindparam, select, update
from sqlmodel import col

from services.verifier.close.remains import is_superseded
from services.verifier.prove.find_cause import Finding
from shared.contracts.causes import Cause
from shared.contracts.events import AgentLost, AgentMissing, ExtraAgentRemoved, SessionCancelled, SessionEnded
from shared.contracts.sessions import SessionStatus
from shared.core.admission.wait_queue import FULL
from shared.core.sessions.foreign_agents import foreign_agent_seen
from shared.core.sessions.repository import advance, claim, end, fail, is_claimed, record
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.sessions.unreporting import is_served_by_unreporting
from shared.core.sessions.upkeep import note_callers
from shared.platform.background import finish
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

# After this time another verifier replaces a dead one; a living one renews its claim in time.
CLAIM_LEASE = timedelta(seconds=5)
# A task that stops waits no longer than this for a silent database; the claim then expires by itself.
GIVE_BACK_S = 1.0
CALLER_LEFT = "caller left"
CALLER_NEVER_CAME = "caller_never_came"
# Causes that follow from the registry, not from a job.
ONLY_REGISTRY_SPEAKS = frozenset(
    {Cause.NO_WORKER_REGISTERED, Cause.AGENT_NAME_MISMATCH, Cause.ASSIGNMENT_TIMEOUT, Cause.UNKNOWN}
)

_CURRENT: Final = (
    select(SessionRow, AttemptRow)
    .join(
        AttemptRow,
        (col(AttemptRow.session_id) == col(SessionRow.id))
        & (col(AttemptRow.number) == col(SessionRow.attempt)),
    )
    .where(col(SessionRow.id) == bindparam("id"))
)
_SUPERSEDED: Final = select(col(SessionRow.id)).where(col(SessionRow.id) == bindparam("id"), is_superseded())

log = get_logger(__name__)


@dataclass(frozen=True)
class Current:
    """A dispatched session and its current attempt."""

    session: SessionRow
    attempt: AttemptRow


class Repository:
    """Claims sessions and records verdicts; every verdict is a compare-and-set."""

    def __init__(self, database: Database, *, join_budget_s: float, now: Clock) -> None:
        self._database = database
        self._join_budget = timedelta(seconds=join_budget_s)
        self._now = now

    async def read(self, session_id: str) -> Current | None:
        """Return the session with its current attempt; None if it has none yet."""
        async with self._database.read() as db:
            found = (await db.execute(_CURRENT, {"id": session_id})).one_or_none()
        return None if found is None else Current(*found)

    async def read_session(self, session_id: str) -> SessionRow | None:
        """Return the session, whatever state it is in."""
        async with self._database.read() as db:
            return await db.get(SessionRow, session_id)

    async def is_superseded(self, row: SessionRow) -> bool:
        """Return whether another session now has the name of its room."""
        async with self._database.read() as db:
            return await db.scalar(_SUPERSEDED, {"id": row.id}) is not None

    async def claim(self, row: SessionRow) -> bool:
        """Take or keep the claim for one lease.

        Return False if another verifier has it or the session moved on.
        """
        now = self._now()
        async with self._database.write() as db:
            return await claim(db, row, claimed_until=now + CLAIM_LEASE, next_check_at=now + CLAIM_LEASE)

    @asynccontextmanager
    async def stoppable(self, row: SessionRow) -> AsyncIterator[None]:
        """Release the claim if this task is told to stop, so that another task takes it at once."""
        stage = (row.status, row.attempt)
        try:
            yield
        except asyncio.CancelledError:
            await finish(self._give_back(row.id, stage))
            raise

    async def _give_back(self, session_id: str, stage: tuple[str, int]) -> None:
        """A write may or may not have happened when the task was told to stop, so read the row again."""
        now = self._now()
        try:
            async with asyncio.timeout(GIVE_BACK_S), self._database.write() as db:
                found = await db.get(SessionRow, session_id)
                if found is None or (found.status, found.attempt) != stage:
                    return  # the session has moved on
                if is_claimed(found, now):
                    await claim(db, found, claimed_until=None, next_check_at=now)
        except DATABASE_ERRORS as error:
            log.warning("claim_not_given_back", error=repr(error))

    async def missing(
        self, current: Current, cause: Cause, evidence: dict[str, Any], *, delay: timedelta, pool: str
    ) -> bool:
        """Record that the attempt brought no agent, and ask for another one of a pool after `delay`.

        False if the session moved on.
        """
        event = AgentMissing(attempt=current.session.attempt, cause=cause, evidence=evidence)
        again_at = self._now() + delay if delay else None
        return await self._redispatch(current.session, event, claimed_until=again_at, pool=pool)

    async def lost(
        self, row: SessionRow, cause: Cause, evidence: dict[str, Any], *, attempts: int, pool: str
    ) -> bool:
        """Record that an active session lost its agent, and ask for a new one of a pool.

        The new one has a budget of its own.
        """
        revival = row.revivals + 1
        event = AgentLost(attempt=row.attempt, cause=cause, evidence=evidence, revival=revival)
        return await self._redispatch(
            row,
            event,
            pool=pool,
            revivals=revival,
            max_attempts=row.attempt + attempts,
            deadline_at=self._now() + self._join_budget,
            agent_identity=None,
            agent_sid=None,
        )

    async def _redispatch(
        self,
        row: SessionRow,
        event: AgentMissing | AgentLost,
        *,
        pool: str,
        claimed_until: datetime | None = None,
        **changes: Any,
    ) -> bool:
        now = self._now()
        if pool != row.pool:
            changes["deployment"] = pool
        outcome = "lost" if isinstance(event, AgentLost) else "missing"
        async with self._database.write() as db:
            won = await advance(
                db,
                row,
                SessionStatus.DISPATCHING,
                event=event,
                now=now,
                claimed_until=claimed_until,
                next_check_at=claimed_until or now + timedelta(seconds=1),
                **changes,
            )
            if won:
                await _close_attempt(db, row, outcome, event.cause, event.evidence)
        return won

    async def surest(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> Finding:
        """Return the cause and evidence with which the session fails.

        That is the current finding. But if it comes only from the registry, an earlier attempt's proven cause
        is used, because the deadline cuts the last attempt short. A worker may look full only because of this
        session's own jobs that it took and did not start.
        """
        if cause in FULL:
            better = col(AttemptRow.cause) == Cause.JOB_NOT_STARTED
        elif cause in ONLY_REGISTRY_SPEAKS:
            better = col(AttemptRow.cause).not_in(ONLY_REGISTRY_SPEAKS)
        else:
            return cause, evidence
        proven = (
            select(AttemptRow)
            .where(
                col(AttemptRow.session_id) == row.id,
                col(AttemptRow.number) < row.attempt,
                col(AttemptRow.outcome) == "missing",
                better,
            )
            .order_by(col(AttemptRow.number).desc())
            .limit(1)
        )
        async with self._database.read() as db:
            earlier = await db.scalar(proven)
        if earlier is None or earlier.cause is None:
            return cause, evidence
        return Cause(earlier.cause), {**(earlier.evidence or {}), "attempt": earlier.number}

    async def failed(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> bool:
        """Fail the session. Return False if it moved on."""
        async with self._database.write() as db:
            won = await fail(db, row, cause=cause, evidence=evidence, now=self._now())
            if won:
                await _close_attempt(db, row, "failed", cause, evidence)
        return won

    async def caller_left(self, row: SessionRow, evidence: dict[str, Any]) -> bool:
        """Cancel the session because its caller left. Return False if it moved on."""
        now = self._now()
        event = SessionCancelled(reason=CALLER_LEFT, cause=Cause.CALLER_LEFT, evidence=evidence)
        async with self._database.write() as db:
            won = await end(
                db,
                row,
                SessionStatus.CANCELLED,
                event=event,
                now=now,
                cause=Cause.CALLER_LEFT,
                evidence=evidence,
                end_reason=CALLER_LEFT,
            )
            if won:
                await _close_attempt(db, row, "abandoned", Cause.CALLER_LEFT, evidence)
        return won

    async def ended(self, row: SessionRow, reason: str) -> bool:
        """End the session. Return False if it moved on."""
        event = SessionEnded(reason=reason)
        async with self._database.write() as db:
            return await end(db, row, SessionStatus.ENDED, event=event, now=self._now(), end_reason=reason)

    async def note_callers(self, row: SessionRow, callers: int) -> None:
        """Record that a caller is in the room, or since when an active session's room has none.

        A webhook may have reported it earlier, but none may come at all.
        """
        there = row.caller_joined_at is not None and row.caller_left_at is None
        left = not callers and there and row.status == SessionStatus.ACTIVE
        came = callers > 0 and not there
        if came or left:
            async with self._database.write() as db:
                await note_callers(db, row, present=came, now=self._now())

    async def agent_missed(self, attempt: AttemptRow) -> None:
        """Record since when the attempt's agent is missing from the room, unless LiveKit reported it."""
        unknown = update(AttemptRow).where(
            col(AttemptRow.session_id) == attempt.session_id,
            col(AttemptRow.number) == attempt.number,
            col(AttemptRow.left_at).is_(None),
        )
        async with self._database.write() as db:
            await db.execute(unknown.values(left_at=self._now()))

    async def name_is_proven(self, agent_name: str) -> bool:
        """Return whether an agent of a worker that doesn't report to us recently joined under this name."""
        async with self._database.read() as db:
            return await is_served_by_unreporting(db, agent_name)

    async def was_reported(self, session_id: str) -> bool:
        """Has a worker that reports to us had a job of this session?"""
        reported = select(col(AttemptRow.number)).where(
            col(AttemptRow.session_id) == session_id, col(AttemptRow.reported_at).is_not(None)
        )
        async with self._database.read() as db:
            return await db.scalar(reported.limit(1)) is not None

    async def extra_removed(self, row: SessionRow, identity: str) -> None:
        """Record that an extra agent was removed."""
        event = ExtraAgentRemoved(participant_identity=identity, attempt=row.attempt)
        async with self._database.write() as db:
            await record(db, row, event, now=self._now())

    async def foreign_agent_seen(self, row: SessionRow, identity: str, *, removed: bool) -> None:
        """Record an agent that nobody dispatched."""
        await foreign_agent_seen(self._database, row, identity, removed=removed, now=self._now())

    async def look_again(self, row: SessionRow, *, at: datetime | None) -> None:
        """Set when the verifier looks at the session next; None means never."""
        async with self._database.write() as db:
            await claim(db, row, claimed_until=None, next_check_at=at)


async def _close_attempt(
    db: Any, row: SessionRow, outcome: str, cause: Cause, evidence: dict[str, Any]
) -> None:
    attempt = await db.get(AttemptRow, (row.id, row.attempt))
    if attempt is not None:
        attempt.outcome = outcome
        attempt.cause = cause
        attempt.evidence = evidence
