"""Record what an agent has proven: that it is in the room, and that it listens."""

from datetime import datetime, timedelta
from typing import Any

from livekit.protocol.models import ParticipantInfo
from sqlalchemy.ext.asyncio import AsyncSession

from services.verifier.prove.observe import JobSighting, is_ready, is_speaking
from services.verifier.repository import Current
from shared.contracts.events import AgentAssigned, AgentJoined, AgentReady, AgentSpoke
from shared.contracts.sessions import Level, SessionStatus
from shared.core.sessions.metrics import level_reached
from shared.core.sessions.repository import advance, claim, record
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.platform.clock import Clock
from shared.platform.database.database import Database

# The verifier looks at an active session again soon, since an extra agent comes in the first seconds, if at
# all. It looks even sooner if the worker doesn't report when its agent listens and speaks.
FIRST_LOOK = timedelta(seconds=3)
SOON = timedelta(seconds=1)
_SDK_IDENTITY = "agent-AJ_"


class Proofs:
    """Records levels of proof; the one that the session requires makes it active."""

    def __init__(self, database: Database, *, now: Clock) -> None:
        self._database = database
        self._now = now

    async def seen(self, current: Current, agent: ParticipantInfo) -> None:
        """Record that the agent is ACTIVE, although the session requires more."""
        if current.attempt.active_at is not None:
            return
        now, row = self._now(), current.session
        async with self._database.write() as db:
            session = await db.get(SessionRow, row.id, with_for_update=True)
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if session is None or attempt is None or session.version != row.version:
                return
            active_at = session.active_at or now
            await record(
                db,
                row,
                self._joined(current, agent, now),
                now=now,
                active_at=active_at,
                agent_identity=agent.identity,
                agent_sid=agent.sid,
            )
            _bind(attempt, agent, now)
        self._count_active(current, now)

    async def joined(self, current: Current, agent: ParticipantInfo) -> float | None:
        """Record that the agent has proven what the session requires.

        Return the seconds that the proof took; None if the session moved on.
        """
        now, row = self._now(), current.session
        ready = row.required_level == Level.READY
        event = AgentReady(attempt=row.attempt) if ready else self._joined(current, agent, now)
        if ready:
            await self.seen(current, agent)
        level = {"ready_at": row.ready_at or now} if ready else {"active_at": row.active_at or now}
        async with self._database.write() as db:
            won = await advance(
                db,
                row,
                SessionStatus.ACTIVE,
                event=event,
                now=now,
                agent_identity=agent.identity,
                agent_sid=agent.sid,
                claimed_until=None,
                next_check_at=now + (FIRST_LOOK if current.attempt.reported_at else SOON),
                **level,
            )
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if not won or attempt is None:
                return None
            _bind(attempt, agent, now)
            attempt.outcome = "joined"
            if ready:
                attempt.ready_at = attempt.ready_at or now
            # A worker that reports to us reports the exact times.
            shown = [] if attempt.reported_at else await _show(db, row, attempt, agent, now)
            # A canary has now shown everything; and an agent may have failed before the verifier saw it.
            if row.canary or attempt.error or attempt.closed_at:
                await claim(db, row, next_check_at=now)
        if ready:
            level_reached(row, Level.READY, _since_request(row, now))
        else:
            self._count_active(current, now)
        for first in shown:
            level_reached(row, first, _since_request(row, now))
        return self._join_seconds(current, now)

    def _joined(self, current: Current, agent: ParticipantInfo, now: datetime) -> AgentJoined:
        return AgentJoined(
            attempt=current.session.attempt,
            participant_identity=agent.identity,
            participant_sid=agent.sid,
            worker_id=current.attempt.worker_id,
            join_seconds=self._join_seconds(current, now),
        )

    @staticmethod
    def _join_seconds(current: Current, now: datetime) -> float:
        """Return the seconds since the request or, for a replacement, since its attempt began."""
        replaces = current.session.revivals > 0
        since = current.attempt.started_at if replaces else current.session.requested_at
        return (now - since).total_seconds()

    @staticmethod
    def _count_active(current: Current, now: datetime) -> None:
        if current.session.revivals == 0:
            level_reached(current.session, Level.ACTIVE, _since_request(current.session, now))

    async def assigned(self, current: Current, job: JobSighting) -> None:
        """Record that LiveKit shows which worker took the job, although the worker has not reported it."""
        now, row = self._now(), current.session
        if current.attempt.job_id is not None:
            return
        async with self._database.write() as db:
            session = await db.get(SessionRow, row.id, with_for_update=True)
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if session is None or attempt is None or attempt.reported_at is not None:
                return
            attempt.job_id, attempt.worker_id = job.job_id, job.worker_id
            # By LiveKit's clock, which may differ from ours.
            attempt.assigned_at = min(max(job.taken_at or now, attempt.started_at), now)
            changes: dict[str, Any] = {"room_sid": session.room_sid or job.room_sid}
            first = session.assigned_at is None
            if first:
                changes["assigned_at"] = attempt.assigned_at
            event = AgentAssigned(attempt=row.attempt, worker_id=job.worker_id, job_id=job.job_id)
            await record(db, row, event, now=now, **changes)
            seconds = (attempt.assigned_at - row.requested_at).total_seconds()
        if first:
            level_reached(row, Level.ASSIGNED, seconds)

    async def shows(self, row: SessionRow, agent: ParticipantInfo) -> None:
        """Record that an active session's agent was seen to listen or speak, without a worker's report."""
        now = self._now()
        async with self._database.write() as db:
            session = await db.get(SessionRow, row.id, with_for_update=True)
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if session is None or attempt is None:
                return
            levels = await _show(db, session, attempt, agent, now)
        for level in levels:
            level_reached(row, level, _since_request(row, now))


async def _show(
    db: AsyncSession, session: SessionRow, attempt: AttemptRow, agent: ParticipantInfo, now: datetime
) -> list[Level]:
    """Record the levels that the agent shows; return those that the session reached for the first time."""
    shown: list[tuple[Level, bool, AgentReady | AgentSpoke]] = [
        (Level.READY, is_ready(agent), AgentReady(attempt=attempt.number)),
        (Level.FIRST_SPEECH, is_speaking(agent), AgentSpoke(attempt=attempt.number)),
    ]
    reached = []
    for level, is_shown, event in shown:
        column = f"{level}_at"
        if not is_shown or getattr(attempt, column) is not None:
            continue
        setattr(attempt, column, now)
        first = getattr(session, column) is None
        await record(db, session, event, now=now, **({column: now} if first else {}))
        if first:
            reached.append(level)
    return reached


def _bind(attempt: AttemptRow, agent: ParticipantInfo, now: datetime) -> None:
    attempt.active_at = attempt.active_at or now
    if attempt.participant_identity != agent.identity:
        # LiveKit's earlier webhooks were about another agent.
        attempt.arrived_at = attempt.left_at = attempt.left_reason = None
    attempt.participant_identity = agent.identity
    attempt.participant_sid = agent.sid
    # The SDK's identity of an agent contains the job's id; used if the job is not known.
    if attempt.job_id is None and agent.identity.startswith(_SDK_IDENTITY):
        attempt.job_id = agent.identity.removeprefix("agent-")


def _since_request(row: SessionRow, now: datetime) -> float:
    return (now - row.requested_at).total_seconds()
