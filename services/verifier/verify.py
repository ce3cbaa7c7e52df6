"""Prove that the agent of a dispatched session is in the room, or find out why it isn't."""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.verifier import metrics
from services.verifier.find_cause import WORKER_FULL, Finding, Witnesses, fatal_error, find_cause
from services.verifier.observe import JobSighting, Sighting, look, look_at_job
from services.verifier.ports import Rooms
from services.verifier.rulings import CLAIM_LEASE, Case, Rulings
from services.verifier.wake import Waker
from shared.contracts.causes import ADVICE, Cause
from shared.runtime.clock import Clock
from shared.runtime.livekit import LiveKitError, NotFound
from shared.runtime.logs import bound, get_logger
from shared.runtime.outbox import Relay
from shared.runtime.registry import Fleet, read_fleet
from shared.runtime.sessions import is_claimed
from shared.runtime.tables import AttemptRow, SessionRow

log = get_logger(__name__)

FIRST_POLL_S = 0.25
POLL_FACTOR = 1.6
SLOWEST_POLL_S = 1.0
# A report of "connected" comes a few milliseconds before LiveKit shows the participant ACTIVE.
AFTER_HINT_POLL_S = 0.03
FLEET_INTERVAL = timedelta(seconds=1)
JOB_INTERVAL = timedelta(seconds=1)
# LiveKit asks the next worker within milliseconds of a refusal.
PASSING_ON = timedelta(seconds=1)
# An agent of the right name is there: very likely ours, once LiveKit shows its job.
UNBOUND_PATIENCE = timedelta(seconds=2)


@dataclass
class Trail:
    """What was seen so far while waiting for one attempt."""

    sighting: Sighting = field(default_factory=Sighting)
    job: JobSighting = field(default_factory=JobSighting)
    fleet_read_at: datetime | None = None
    job_seen_at: datetime | None = None
    had_worker: bool = False
    livekit_error: LiveKitError | None = None


def _turned_down(attempt: AttemptRow, now: datetime) -> bool:
    """True if no worker takes the job any more; a full one only passed it on to the next."""
    if attempt.rejected_at is None or attempt.assigned_at is not None:
        return False
    return attempt.close_reason != WORKER_FULL or now - attempt.rejected_at >= PASSING_ON


class Verifier:
    """Waits for agents; one per process, many sessions at once."""

    def __init__(
        self,
        *,
        rulings: Rulings,
        rooms: Rooms,
        redis: Redis,
        relay: Relay,
        waker: Waker,
        attempt_window_s: float,
        now: Clock,
    ) -> None:
        self._rulings = rulings
        self._rooms = rooms
        self._redis = redis
        self._relay = relay
        self._waker = waker
        self._window = timedelta(seconds=attempt_window_s)
        self._now = now

    async def verify(self, case: Case) -> None:
        """Poll the room until the agent of this attempt is ACTIVE, or its time is over."""
        row = case.session
        if is_claimed(row, self._now()):
            return
        with bound(session_id=row.id, room=row.room_name, attempt=row.attempt):
            with self._waker.waiting_for(row.id) as woken:
                if not await self._rulings.claim(row):
                    return
                log.info(f"verifying agent joined room {row.room_name}")
                await self._wait_for_agent(case, woken)
            self._relay.nudge(row.id)

    async def _wait_for_agent(self, case: Case, woken: asyncio.Event) -> None:
        trail = Trail()
        pause = FIRST_POLL_S
        while True:
            await self._look(case, trail)
            if trail.sighting.agent is not None:
                await self._joined(case, trail)
                return
            fresh = await self._rulings.read(case.session.id)
            if fresh is None or fresh.session.version != case.session.version:
                return  # ended by request, or another verifier has it
            case = fresh
            if await self._is_over(case, trail):
                await self._rule(case, trail)
                return
            if not await self._keep_claim(case.session):
                return
            try:
                async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):  # noqa: S311
                    await woken.wait()
            except TimeoutError:
                pause = min(pause * POLL_FACTOR, SLOWEST_POLL_S)
            else:
                pause = AFTER_HINT_POLL_S
            woken.clear()

    async def _look(self, case: Case, trail: Trail) -> None:
        """Look at the room; a LiveKit that doesn't answer is remembered, not a verdict."""
        dispatch_id = case.attempt.dispatch_id
        try:
            trail.sighting = await look(case.session, rooms=self._rooms, job=trail.job)
            if dispatch_id and trail.sighting.agent is None and self._job_is_due(case, trail):
                trail.job_seen_at = self._now()
                trail.job = await look_at_job(case.session, dispatch_id, rooms=self._rooms)
                if trail.job.identity:
                    trail.sighting = await look(case.session, rooms=self._rooms, job=trail.job)
            trail.livekit_error = None
        except LiveKitError as error:
            trail.livekit_error = error

    def _job_is_due(self, case: Case, trail: Trail) -> bool:
        """Is it worth asking LiveKit for the job? Our own workers tell us themselves, and sooner."""
        now = self._now()
        if case.attempt.assigned_at is not None or trail.job.identity is not None:
            return False
        if trail.job_seen_at is not None and now - trail.job_seen_at < JOB_INTERVAL:
            return False
        age = now - (case.attempt.accepted_at or case.attempt.started_at)
        return bool(trail.sighting.unbound) or age >= self._window - JOB_INTERVAL

    async def _is_over(self, case: Case, trail: Trail) -> bool:
        """Is waiting for this attempt any longer no use?"""
        now = self._now()
        row, attempt = case.session, case.attempt
        if now >= row.deadline_at:
            return True
        if trail.livekit_error is not None:
            return not trail.livekit_error.retryable
        if (
            fatal_error(attempt)
            or _turned_down(attempt, now)
            or attempt.closed_at is not None
            or trail.job.refused
        ):
            return True
        if row.attempt >= row.max_attempts or attempt.assigned_at is not None or trail.job.identity:
            return False
        if await self._worker_came_late(case, trail):
            return True
        window = self._window + (UNBOUND_PATIENCE if trail.sighting.unbound else timedelta())
        return now - (attempt.accepted_at or attempt.started_at) >= window

    async def _worker_came_late(self, case: Case, trail: Trail) -> bool:
        """True if a worker has come that the dispatch can't have reached: LiveKit keeps no queue."""
        now = self._now()
        if trail.fleet_read_at is not None and now - trail.fleet_read_at < FLEET_INTERVAL:
            return False
        first = trail.fleet_read_at is None
        trail.fleet_read_at = now
        fleet = await self._read_fleet()
        if fleet is None:
            return False
        workers = fleet.named(case.session.agent_name)
        if first:
            trail.had_worker = bool(workers)
        return not trail.had_worker and any(worker.free_slots for worker in workers)

    async def _keep_claim(self, row: SessionRow) -> bool:
        lease_left = (row.claimed_until or self._now()) - self._now()
        return lease_left > CLAIM_LEASE / 2 or await self._rulings.claim(row)

    async def _joined(self, case: Case, trail: Trail) -> None:
        agent = trail.sighting.agent
        if agent is None:
            return
        seconds = await self._rulings.joined(case, agent)
        if seconds is None:
            return
        row = case.session
        metrics.agent_joined(seconds)
        log.info(
            f"agent verified in room {row.room_name}: {agent.identity} (SID: {agent.sid})",
            join_seconds=round(seconds, 3),
        )
        await self.remove_extra(row, trail.sighting)

    async def remove_extra(self, row: SessionRow, sighting: Sighting) -> None:
        """Take agents of other attempts out of the room."""
        for extra in sighting.extra:
            log.warning("removing an extra agent", participant_identity=extra.identity)
            try:
                await self._rooms.remove_participant(row.room_name, extra.identity)
            except NotFound:
                continue
            except LiveKitError as error:
                log.warning("extra agent not removed", error=str(error))
                continue
            metrics.extra_agent_removed()
            await self._rulings.extra_removed(row, extra.identity)

    async def _rule(self, case: Case, trail: Trail) -> None:
        """No agent: another attempt if one is left, else the critical event."""
        row = case.session
        cause, evidence = await self._finding(case, trail)
        worth_it = trail.livekit_error is None or trail.livekit_error.retryable
        if row.attempt < row.max_attempts and self._now() < row.deadline_at and worth_it:
            if await self._rulings.missing(case, cause, evidence):
                metrics.agent_missing(cause)
                log.warning(
                    f"agent did not join room {row.room_name}, dispatching again",
                    cause=str(cause),
                    evidence=evidence,
                )
            return
        await self.give_up(row, cause, evidence)

    async def give_up(self, row: SessionRow, cause: Cause, evidence: dict[str, object]) -> None:
        """The critical event: no agent came, and none will."""
        if not await self._rulings.failed(row, cause, evidence):
            return
        metrics.session_failed(cause)
        log.critical(
            f"CRITICAL: agent dispatch succeeded but agent did not join room {row.room_name}",
            cause=str(cause),
            evidence=evidence,
            advice=ADVICE[cause],
        )

    async def _finding(self, case: Case, trail: Trail) -> Finding:
        if trail.livekit_error is not None:
            return trail.livekit_error.cause, {"error": str(trail.livekit_error)}
        try:
            room_exists = await self._rooms.room_exists(case.session.room_name)
        except LiveKitError as error:
            return error.cause, {"error": str(error)}
        return find_cause(
            Witnesses(
                session=case.session,
                attempt=case.attempt,
                room_exists=room_exists,
                sighting=trail.sighting,
                job=trail.job,
                fleet=await self._read_fleet(),
            )
        )

    async def _read_fleet(self) -> Fleet | None:
        try:
            return await read_fleet(self._redis)
        except (RedisError, OSError):
            return None
