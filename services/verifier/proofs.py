"""Write down what an agent has proven: that it is in the room, and that it listens."""

from datetime import datetime, timedelta

from livekit.protocol.models import ParticipantInfo

from services.verifier.rulings import Case
from shared.contracts.events import AgentJoined, AgentReady
from shared.contracts.sessions import Level, SessionStatus
from shared.runtime.clock import Clock
from shared.runtime.database import Database
from shared.runtime.session_metrics import level_reached
from shared.runtime.sessions import advance, claim, record
from shared.runtime.tables import AttemptRow, SessionRow

# An active session is looked at again soon: an agent too many comes in the first seconds, if at all.
FIRST_LOOK = timedelta(seconds=3)


class Proofs:
    """Records levels of proof; the one that the session requires makes it active."""

    def __init__(self, database: Database, *, now: Clock) -> None:
        self._database = database
        self._now = now

    async def seen(self, case: Case, agent: ParticipantInfo) -> None:
        """The agent is ACTIVE, which is not yet all that the session requires."""
        if case.attempt.active_at is not None:
            return
        now, row = self._now(), case.session
        async with self._database.write() as db:
            session = await db.get(SessionRow, row.id, with_for_update=True)
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if session is None or attempt is None or session.version != row.version:
                return
            active_at = session.active_at or now
            await record(
                db,
                row.id,
                self._joined(case, agent, now),
                now=now,
                active_at=active_at,
                agent_identity=agent.identity,
                agent_sid=agent.sid,
            )
            _bind(attempt, agent, now)
        self._count_active(case, now)

    async def joined(self, case: Case, agent: ParticipantInfo) -> float | None:
        """The agent has proven what the session requires. Return the seconds that the proof took, None
        if the session moved on.
        """
        now, row = self._now(), case.session
        ready = row.required_level == Level.READY
        event = AgentReady(attempt=row.attempt) if ready else self._joined(case, agent, now)
        if ready:
            await self.seen(case, agent)
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
                next_check_at=now + FIRST_LOOK,
                **level,
            )
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if not won or attempt is None:
                return None
            _bind(attempt, agent, now)
            attempt.outcome = "joined"
            if ready:
                attempt.ready_at = attempt.ready_at or now
            # A canary has shown all it was to show; and an agent may have failed before it was seen.
            if row.canary or attempt.error or attempt.closed_at:
                await claim(db, row, next_check_at=now)
        if ready:
            level_reached(row, Level.READY, _since_request(row, now))
        else:
            self._count_active(case, now)
        return self._join_seconds(case, now)

    def _joined(self, case: Case, agent: ParticipantInfo, now: datetime) -> AgentJoined:
        return AgentJoined(
            attempt=case.session.attempt,
            participant_identity=agent.identity,
            participant_sid=agent.sid,
            worker_id=case.attempt.worker_id,
            join_seconds=self._join_seconds(case, now),
        )

    @staticmethod
    def _join_seconds(case: Case, now: datetime) -> float:
        """Since the request; for an agent that replaces another, since its attempt began."""
        replaces = case.session.revivals > 0
        since = case.attempt.started_at if replaces else case.session.requested_at
        return (now - since).total_seconds()

    @staticmethod
    def _count_active(case: Case, now: datetime) -> None:
        if case.session.revivals == 0:
            level_reached(case.session, Level.ACTIVE, _since_request(case.session, now))

    async def ready(self, row: SessionRow) -> None:
        """The agent of an active session was seen to listen, and its worker has not told us."""
        now = self._now()
        async with self._database.write() as db:
            session = await db.get(SessionRow, row.id, with_for_update=True)
            attempt = await db.get(AttemptRow, (row.id, row.attempt))
            if session is None or attempt is None or attempt.ready_at is not None:
                return
            attempt.ready_at = now
            first = {} if session.ready_at else {"ready_at": now}
            await record(db, row.id, AgentReady(attempt=row.attempt), now=now, **first)
        if first:
            level_reached(row, Level.READY, _since_request(row, now))


def _bind(attempt: AttemptRow, agent: ParticipantInfo, now: datetime) -> None:
    attempt.active_at = attempt.active_at or now
    attempt.participant_identity = agent.identity
    attempt.participant_sid = agent.sid


def _since_request(row: SessionRow, now: datetime) -> float:
    return (now - row.requested_at).total_seconds()
