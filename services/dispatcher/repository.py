"""The dispatcher's database access: claim sessions, and record the results of attempts."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from services.dispatcher.claims import Claim, Decision, RefusedAttempt, Wanted
from services.dispatcher.turn_numbering import next_seq, takes_over
from shared.contracts.causes import Cause
from shared.contracts.dispatching import DispatchOrder, PastTurn
from shared.contracts.events import DispatchAccepted, DispatchFailed, DispatchStarted
from shared.contracts.identifiers import SessionId, new_caller_identity
from shared.contracts.models import Models
from shared.contracts.profiles import Profile
from shared.contracts.sessions import UNDISPATCHED, Level, Mode, Role, SessionStatus
from shared.core.admission.wait_queue import FULL, wait_in_line, waits_behind
from shared.core.database_ready import unready
from shared.core.profiles.profiles import profile_of, read_version
from shared.core.sessions.attempts import accept_attempt, insert_attempt
from shared.core.sessions.foreign_agents import foreign_agent_seen
from shared.core.sessions.metrics import level_reached
from shared.core.sessions.repository import advance, claim, fail, is_claimed, record
from shared.core.sessions.tables import AttemptRow, SessionRow
from shared.core.sessions.unreporting import is_served_by_unreporting
from shared.core.sessions.upkeep import close_again
from shared.core.transcripts.reading_order import read_order, read_turns
from shared.core.transcripts.tables import TranscriptItemRow
from shared.core.workers.placement import BY_NAME, Choice
from shared.platform.clock import Clock
from shared.platform.database.database import Database, after_commit
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.livekit.client import LiveKitError
from shared.platform.logs.logs import get_logger
from shared.platform.tracing.tracing import here

# If the Celery worker dies, the sweep enqueues the session again after this time. Several calls to LiveKit
# may together take longer, so the dispatcher renews its claim while it works.
CLAIM_LEASE = timedelta(seconds=5)
RENEWAL_S = 1.5
# How soon a verifier must have claimed a dispatched session.
VERIFY_WITHIN = timedelta(seconds=1)
# An agent that takes over gets the newest turns; a longer conversation would not fit into its model anyway.
HISTORY_TURNS = 200

log = get_logger(__name__)


class Repository:
    """Claims sessions and records outcomes.

    Every transaction that changes both writes the session before its attempt, because two orders could
    deadlock.
    """

    def __init__(self, database: Database, *, retry_delay_s: float, now: Clock) -> None:
        self._database = database
        self._retry_delay_s = retry_delay_s
        self._now = now

    async def unready(self) -> str | None:
        """Return why the database can't be used; None if it can."""
        return await unready(self._database)

    async def find_undispatched(self, session_id: str) -> Wanted | None:
        """Return the session if it needs a dispatch and no dispatcher has claimed it."""
        now = self._now()
        async with self._database.read() as db:
            row = await db.get(SessionRow, session_id)
            if row is None or row.status not in UNDISPATCHED:
                return None
            if row.deadline_at <= now or is_claimed(row, now):
                return None
            attempt = await db.get(AttemptRow, (row.id, row.attempt)) if row.attempt else None
            if attempt is not None and attempt.outcome is None:
                return Wanted(row, under_way=True)
            behind = await waits_behind(db, row, now)
            if attempt is None or behind is not None:
                return Wanted(row, under_way=False, behind=behind)
            earlier = await _fruitless_attempts(db, row.id)
            return Wanted(
                row,
                under_way=False,
                tries=Counter(filter(None, (one.chosen_worker_id or one.worker_id for one in earlier))),
                tried_by_name=any(one.chosen_worker_id is None for one in earlier),
            )

    async def is_served_by_unreporting(self, agent_name: str) -> bool:
        """Return whether workers that don't report to us serve this name, by what joined lately."""
        async with self._database.read() as db:
            return await is_served_by_unreporting(db, agent_name)

    async def park(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> bool:
        """Make the session wait, and record what for; return True if it did not wait before."""
        async with self._database.write() as db:
            return await wait_in_line(db, row, cause, evidence, self._now())

    async def give_up(self, row: SessionRow, cause: Cause, evidence: dict[str, Any]) -> bool:
        """Fail the session without an attempt. Return False if it has moved on."""
        async with self._database.write() as db:
            return await fail(db, row, cause=cause, evidence=evidence, now=self._now())

    async def claim(self, row: SessionRow, choice: Choice = BY_NAME) -> Claim | None:
        """Claim the session for one attempt; return None if another dispatcher was first.

        An attempt that is under way keeps the worker that was chosen for it.
        """
        now = self._now()
        lease: dict[str, Any] = {
            "claimed_until": now + CLAIM_LEASE,
            "next_check_at": now + CLAIM_LEASE,
            "waiting_for": None,
        }
        async with self._database.write() as db:
            current = await db.get(AttemptRow, (row.id, row.attempt)) if row.attempt else None
            if current is not None and current.outcome is None:
                # A Celery worker died in the middle of this attempt: continue it.
                won = await claim(db, row, **lease)
                goes_on = await takes_over(db, row.id)
                order = _order(row, current, takes_over=goes_on, profile=await _profile(db, row))
                chosen = current.chosen_worker_id
                return Claim(row, order, unsure=True, worker_id=chosen) if won else None
            number = row.attempt + 1
            # An attempt at a full worker does not count: a session may wait as long as its budget lasts.
            untried = current is not None and current.cause in FULL
            most = row.max_attempts + 1 if untried else row.max_attempts
            lease["max_attempts"] = most
            event = DispatchStarted(attempt=number, max_attempts=most, worker_id=choice.worker_id)
            if row.status == SessionStatus.REQUESTED:
                won = await advance(
                    db, row, SessionStatus.DISPATCHING, event=event, now=now, attempt=number, **lease
                )
            else:
                won = await claim(db, row, attempt=number, **lease)
                if won:
                    await record(db, row, event, now=now)
            if not won:
                return None
            # Nobody has spoken before the first attempt.
            goes_on = number > 1 and await takes_over(db, row.id)
            attempt = AttemptRow(
                session_id=row.id,
                number=number,
                started_at=now,
                first_seq=await next_seq(db, row.id) if number > 1 else 1,
                chosen_worker_id=choice.worker_id,
                address=choice.address,
                deployment=row.deployment or None,
            )
            await insert_attempt(db, attempt)
            order = _order(row, attempt, takes_over=goes_on, profile=await _profile(db, row))
        return Claim(row, order, unsure=False, worker_id=choice.worker_id)

    @asynccontextmanager
    async def held(self, claimed: Claim) -> AsyncIterator[None]:
        """Keep the claim while the block runs, up to the session's deadline."""
        over = asyncio.Event()
        renewing = asyncio.create_task(self._renew(claimed.row, over), name="claim-renewal")
        try:
            yield
        finally:
            over.set()
            # Not cancelled: the row must get the same version as the database.
            await asyncio.wait([renewing])

    async def _renew(self, row: SessionRow, over: asyncio.Event) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEWAL_S):
                    await over.wait()
            now = self._now()
            if over.is_set() or now >= row.deadline_at:
                return
            try:
                async with self._database.write() as db:
                    until = now + CLAIM_LEASE
                    kept = await claim(db, row, claimed_until=until, next_check_at=until)
            except DATABASE_ERRORS as error:
                log.warning("claim_not_renewed", error=repr(error))
                continue
            if not kept:
                return  # ended by request, or another dispatcher has it: storing the result will show that

    async def accepted(self, claimed: Claim, dispatch_id: str, *, room_sid: str) -> bool:
        """Record that LiveKit took the dispatch, in the room of this sid.

        Return False if the session has moved on, or if another dispatcher has taken it over; `decided` then
        returns the attempt's dispatch.
        """
        now = self._now()
        row = claimed.row
        first = row.accepted_at is None
        async with self._database.write() as db:
            won = await advance(
                db,
                row,
                SessionStatus.DISPATCHED,
                event=DispatchAccepted(attempt=row.attempt, dispatch_id=dispatch_id),
                now=now,
                accepted_at=row.accepted_at or now,
                room_sid=room_sid,
                claimed_until=None,
                next_check_at=now + VERIFY_WITHIN,
            )
            if won and first:
                seconds = (now - row.requested_at).total_seconds()
                after_commit(db, partial(level_reached, row, Level.ACCEPTED, seconds))
            if won or await self._close_once_more(db, row, room_sid=room_sid):
                await accept_attempt(db, (row.id, row.attempt), dispatch_id, now=now)
            return won

    async def _close_once_more(self, db: AsyncSession, row: SessionRow, *, room_sid: str) -> bool:
        """Have the room of a session that ended meanwhile cleared once more.

        Return False if the session is not over, or has another dispatch for this attempt.
        """
        attempt = await _attempt(db, row)
        closes = await close_again(db, row.id, now=self._now(), room_sid=room_sid)
        return closes and attempt.dispatch_id is None

    async def decided(self, claimed: Claim) -> Decision | None:
        """Return the result of an attempt that another dispatcher took over.

        None while that one still works on it.
        """
        async with self._database.read() as db:
            attempt = await _attempt(db, claimed.row)
            session = await db.get_one(SessionRow, claimed.row.id)
        under_way = session.status == SessionStatus.DISPATCHING and session.attempt == attempt.number
        return None if under_way and attempt.outcome is None else Decision(attempt.dispatch_id)

    async def foreign_agent_seen(self, row: SessionRow, identity: str) -> None:
        """Record an agent that nobody dispatched and that was removed from the room."""
        await foreign_agent_seen(self._database, row, identity, removed=True, now=self._now())

    async def refused(self, claimed: Claim, error: LiveKitError) -> RefusedAttempt:
        """Record that LiveKit did not take the dispatch: schedule another attempt, or fail the session."""
        now = self._now()
        row = claimed.row
        evidence = error.evidence
        delay = self._delay(row.attempt)
        last = (
            not error.retryable
            or row.attempt >= row.max_attempts
            or now + timedelta(seconds=delay) >= row.deadline_at
        )
        async with self._database.write() as db:
            if last:
                won = await fail(db, row, cause=error.cause, evidence=evidence, now=now)
            else:
                again_at = now + timedelta(seconds=delay)
                won = await claim(db, row, claimed_until=again_at, next_check_at=again_at)
                if won:
                    event = DispatchFailed(
                        attempt=row.attempt, cause=error.cause, evidence=evidence, retry_in_s=delay
                    )
                    await record(db, row, event, now=now)
            if won:
                attempt = await _attempt(db, row)
                attempt.outcome = "error"
                attempt.cause = error.cause
                attempt.evidence = evidence
        return RefusedAttempt(won=won, retry_in_s=None if last else delay)

    async def history(self, session_id: str) -> list[PastTurn]:
        """Return the newest stored turns, in the order of speech."""
        async with self._database.snapshot() as db:
            newest = (await read_order(db, session_id))[-HISTORY_TURNS:]
            return [_past_turn(item) for _, item in await read_turns(db, session_id, newest)]

    def _delay(self, attempt: int) -> float:
        # Jitter spreads sessions that failed together.
        return float(self._retry_delay_s * 3 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311


async def _attempt(db: AsyncSession, row: SessionRow) -> AttemptRow:
    attempt = await db.get(AttemptRow, (row.id, row.attempt))
    if attempt is None:
        raise LookupError(f"session {row.id} has no attempt {row.attempt}")
    return attempt


async def _fruitless_attempts(db: AsyncSession, session_id: str) -> Sequence[AttemptRow]:
    """The attempts that brought no agent, or one that was lost."""
    fruitless = select(AttemptRow).where(
        col(AttemptRow.session_id) == session_id, col(AttemptRow.outcome).in_(("missing", "lost"))
    )
    return (await db.scalars(fruitless)).all()


async def _profile(db: AsyncSession, row: SessionRow) -> Profile | None:
    """The version that was chosen when the agent was asked for, for each attempt the same."""
    if row.profile_version is None:
        return None
    stored = await read_version(db, row.agent_name, row.profile_version)
    if stored is None:
        raise LookupError(f"{row.agent_name} has no profile of version {row.profile_version}")
    profile = profile_of(stored)
    # The session's own come first, and both might be too long for a dispatch.
    return profile.model_copy(update={"instructions": None}) if row.instructions else profile


def _order(
    row: SessionRow, attempt: AttemptRow, *, takes_over: bool, profile: Profile | None
) -> DispatchOrder:
    return DispatchOrder(
        session_id=SessionId(row.id),
        attempt=row.attempt,
        mode=Mode(row.mode),
        models=Models.model_validate(row.models),
        instructions=row.instructions,
        first_seq=attempt.first_seq,
        takes_over=takes_over,
        canary=row.canary,
        traceparent=here(row.traceparent),
        caller_identity=row.participant_identity,
        caller_only=row.room_is_ours or row.participant_identity != new_caller_identity(SessionId(row.id)),
        address=attempt.address,
        profile=profile,
        profile_version=row.profile_version,
    )


def _past_turn(item: TranscriptItemRow) -> PastTurn:
    return PastTurn(
        item_id=item.item_id,
        kind=item.kind,
        role=Role(item.role),
        text=item.text,
        cut_from_bytes=item.cut_from_bytes,
        interrupted=item.interrupted,
        created_at=item.created_at,
        extra=item.extra,
    )
